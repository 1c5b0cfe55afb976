//! The choice of interfaces whose stamps are used.

use std::io;

use crate::sys::hardware::{Interface, interfaces};
use crate::sys::words::Abilities;

/// The result of the survey, one line for each interface.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Interfaces whose stamps are used.
    pub(super) used: Vec<String>,
    /// Interfaces that could stamp and do not, with the cause.
    pub(super) lost: Vec<String>,
}

/// Looks at every interface that is up, and has each stamp that can stamp all packets.
pub(super) fn survey() -> Survey {
    let mut survey = Survey::default();
    for name in interfaces() {
        let Ok(mut interface) = Interface::new(&name) else {
            continue;
        };
        let Ok(abilities) = interface.abilities() else {
            continue;
        };
        if !abilities.stamps {
            continue;
        }
        let clock = usable_clock(&abilities).map_err(str::to_owned);
        let used = clock.and_then(|clock| {
            let stamps = interface.stamp_all();
            stamps.map(|()| clock).map_err(|error| cause(&error))
        });
        match used {
            Ok(clock) => survey.used.push(format!("{name} (/dev/ptp{clock})")),
            Err(cause) => survey.lost.push(format!("{name}: {cause}")),
        }
    }
    survey
}

/// Returns the number of an interface's clock, or why its stamps are of no use.
const fn usable_clock(abilities: &Abilities) -> Result<u32, &'static str> {
    match abilities.clock {
        _ if !abilities.both_directions => Err("it stamps one direction only"),
        None => Err("it has no clock that could be kept to the system's"),
        Some(_) if !abilities.all_received => Err("it stamps only some of the packets it receives"),
        Some(clock) => Ok(clock),
    }
}

fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "switching it on needs the capability CAP_NET_ADMIN".to_owned()
        }
        io::ErrorKind::Unsupported => "the driver does not switch it on".to_owned(),
        _ => format!("switching it on failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn a_card_that_stamps_all_is_used_and_what_another_lacks_is_said() {
        let card = Abilities {
            stamps: true,
            both_directions: true,
            all_received: true,
            clock: Some(3),
        };
        assert_eq!(usable_clock(&card), Ok(3));
        let no_clock = Abilities {
            clock: None,
            ..card
        };
        assert!(usable_clock(&no_clock).is_err());
        let only_sent = Abilities {
            both_directions: false,
            ..card
        };
        assert!(usable_clock(&only_sent).is_err());
        let only_ptp = Abilities {
            all_received: false,
            ..card
        };
        assert!(usable_clock(&only_ptp).is_err());
    }

    #[test]
    fn the_survey_of_this_host_ends() {
        let survey = survey();
        let mut lines = survey.used.iter().chain(&survey.lost);
        assert!(lines.all(|line| !line.is_empty()));
    }

    #[test]
    fn a_missing_right_is_named() {
        for code in [Errno::EPERM, Errno::EACCES] {
            assert!(cause(&code.into()).contains("CAP_NET_ADMIN"));
        }
        assert!(cause(&Errno::EOPNOTSUPP.into()).contains("driver"));
    }
}
