//! The native part of the Python package: a monitor whose records a Python thread takes, and its log.
//!
//! No thread of the monitor ever waits for Python: records and log lines wait in bounded queues until somebody takes
//! them, and whoever waits here has let go of the interpreter.

mod logged;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use latency_monitor::{Config, LatencyMonitor, Overrides, Record, TargetHandle, TargetOptions};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// The longest wait of a `take`.
const WAIT_MAX: Duration = Duration::from_hours(1);

fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A poisoned lock is of a thread that has panicked in between: what it guards is whole all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pyclass(frozen, module = "latency_monitor_rs._native")]
struct Monitor {
    inner: Mutex<LatencyMonitor>,
    /// Python has the place in this list for a handle.
    handles: Mutex<Vec<TargetHandle>>,
    records: Mutex<Option<Receiver<Record>>>,
}

#[pymethods]
impl Monitor {
    #[new]
    #[pyo3(signature = (config_file, settings))]
    fn new(config_file: Option<PathBuf>, settings: Vec<(String, String)>) -> PyResult<Self> {
        let mut overrides = Overrides::default();
        for (key, value) in settings {
            // The Python program has these, and no use for them.
            if ["max_seq", "max_conn"].contains(&key.as_str()) {
                continue;
            }
            overrides = overrides
                .with(&key, &value)
                .map_err(|fault| value_error(format_args!("`{key}`: {fault}")))?;
        }
        let config = match config_file {
            Some(path) => Config::load(Some(&path), &overrides),
            None => Config::parse("", &overrides),
        };
        Ok(Self {
            inner: Mutex::new(LatencyMonitor::new(config.map_err(value_error)?)),
            handles: Mutex::default(),
            records: Mutex::default(),
        })
    }

    fn add_target(&self, py: Python<'_>, toml: &str) -> PyResult<usize> {
        let target = TargetOptions::parse(toml).map_err(value_error)?;
        py.detach(|| {
            let handle = lock(&self.inner).add_target(target).map_err(value_error)?;
            let mut handles = lock(&self.handles);
            handles.push(handle);
            Ok(handles.len() - 1)
        })
    }

    fn remove_target(&self, py: Python<'_>, handle: usize) -> bool {
        py.detach(|| {
            let handle = lock(&self.handles).get(handle).copied();
            handle.is_some_and(|handle| lock(&self.inner).remove(handle))
        })
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| {
            let records = lock(&self.inner).start();
            let records = records.map_err(|error| PyOSError::new_err(error.to_string()))?;
            *lock(&self.records) = Some(records);
            Ok(())
        })
    }

    fn listening(&self, py: Python<'_>) -> (Vec<String>, Vec<String>) {
        py.detach(|| {
            let monitor = lock(&self.inner);
            let listening = monitor.listening();
            let text = |addresses: &[std::net::SocketAddr]| {
                addresses.iter().map(ToString::to_string).collect()
            };
            (text(&listening.tcp), text(&listening.udp))
        })
    }

    fn take(&self, py: Python<'_>, most: usize, timeout: f64) -> Option<Vec<String>> {
        let wait = Duration::try_from_secs_f64(timeout).map_or(WAIT_MAX, |wait| wait.min(WAIT_MAX));
        py.detach(|| {
            let records = lock(&self.records);
            let records = records.as_ref()?;
            let first = match records.recv_timeout(wait) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            let more = records.try_iter().take(most.saturating_sub(1));
            let taken = std::iter::once(first).chain(more);
            Some(taken.map(|record| record.to_json()).collect())
        })
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| lock(&self.inner).stop())
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }
}

#[pyfunction]
fn check_target(toml: &str) -> PyResult<()> {
    let target = TargetOptions::parse(toml).map_err(value_error)?;
    let config = Config::default();
    config.target(target).map(drop).map_err(value_error)
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Monitor>()?;
    module.add_function(wrap_pyfunction!(check_target, module)?)?;
    module.add_function(wrap_pyfunction!(logged::watch_log, module)?)?;
    module.add_function(wrap_pyfunction!(logged::take_log, module)?)
}
