//! Which system calls this process may make from now on (seccomp).
//!
//! A call that is not among them fails with `EPERM`, and its name is kept for the log ([`refused`]). It does not end
//! the process: a system library of another release may try a call that it can do without. The kernel makes one
//! exception: in a thread that has all signals blocked, as those of libzmq have, a refused call ends the process by
//! SIGSYS.
#![expect(unsafe_code, reason = "a handler of a signal has no safe binding")]

mod list;

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use syscalls::Sysno;

use self::list::{ALLOWED, ALLOWED_HERE, OF_START};

/// Rules by the numbers of calls: a call is meant if one of its rules fits, or if it has none.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// `TIOCSTI` and `TIOCLINUX`, which write into a terminal as if somebody had typed it.
const TYPED: [u64; 2] = [0x5412, 0x541c];

/// The bits of a socket's type that are no flags.
const TYPE_MASK: u64 = 0xf;

/// Numbers of calls that are told apart when they are refused: more than there are.
const NUMBERS: usize = 1_024;

/// Calls, a bit for each.
type Bits = [AtomicU64; NUMBERS / 64];

/// Those that were refused, to be told; and those that were told.
static REFUSED: Bits = [const { AtomicU64::new(0) }; NUMBERS / 64];
static TOLD: Bits = [const { AtomicU64::new(0) }; NUMBERS / 64];

/// True if the kernel can refuse a call in the way that is wanted here.
pub(crate) fn can_filter() -> bool {
    let action = libc::SECCOMP_RET_TRAP;
    // SAFETY: the kernel reads the action, which lives until the call returns.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    answer == 0
}

/// Has all threads make no calls but those of the list from now on.
pub(crate) fn calls() -> io::Result<()> {
    if !can_filter() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    handle_refusals()?;
    // The C library takes this for an older kernel, and makes the call whose flags a filter can see. It has all signals
    // blocked for both, so no signal can refuse them.
    let lacking = SeccompAction::Errno(Errno::ENOSYS as u32);
    apply(processes()?, SeccompAction::Allow, lacking)?;
    apply(allowed()?, SeccompAction::Trap, SeccompAction::Allow)
}

/// Takes the calls away that only the start makes. One of them is `listen`, unless somebody may still `listens`.
pub(crate) fn calls_after_start(listens: bool) -> io::Result<()> {
    if !listens {
        // Whoever asks for that by a reload is told so, and tells it.
        let denied = SeccompAction::Errno(Errno::EACCES as u32);
        apply(of(&[Sysno::listen]), SeccompAction::Allow, denied)?;
    }
    apply(of(OF_START), SeccompAction::Allow, SeccompAction::Trap)
}

/// Returns rules that mean these calls, whatever their arguments.
fn of(calls: &[Sysno]) -> Rules {
    calls
        .iter()
        .map(|call| (number(*call), Vec::new()))
        .collect()
}

/// Returns rules that mean the calls which make processes, and those which may.
fn processes() -> io::Result<Rules> {
    let mut rules = of(&[Sysno::clone3]);
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let no_thread = rule(&[(0, MaskedEq(thread), 0)])?;
    rules.insert(number(Sysno::clone), vec![no_thread]);
    Ok(rules)
}

/// Returns rules that mean what is allowed.
fn allowed() -> io::Result<Rules> {
    let mut rules = of(ALLOWED);
    rules.append(&mut of(ALLOWED_HERE));
    rules.insert(
        number(Sysno::ioctl),
        vec![rule(&TYPED.map(|request| (1, Ne, request)))?],
    );
    let constant = |value: libc::c_int| u64::from(value.cast_unsigned());
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6, libc::AF_UNIX] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let kind = (1, MaskedEq(TYPE_MASK), constant(kind));
            sockets.push(rule(&[(0, Eq, constant(family)), kind])?);
        }
    }
    // The resolver asks by it which addresses this host has.
    let route = (2, Eq, constant(libc::NETLINK_ROUTE));
    sockets.push(rule(&[(0, Eq, constant(libc::AF_NETLINK)), route])?);
    rules.insert(number(Sysno::socket), sockets);
    Ok(rules)
}

/// Returns a rule that fits if all of these arguments do: each by its place, how it is compared, and with what.
fn rule(arguments: &[(u8, SeccompCmpOp, u64)]) -> io::Result<SeccompRule> {
    let conditions = arguments.iter().map(|(place, how, value)| {
        SeccompCondition::new(*place, Dword, how.clone(), *value).map_err(io::Error::other)
    });
    SeccompRule::new(conditions.collect::<io::Result<_>>()?).map_err(io::Error::other)
}

fn number(call: Sysno) -> i64 {
    call.id().into()
}

/// Applies a filter to all threads: one action for the calls that are meant, and one for the others.
fn apply(rules: Rules, others: SeccompAction, meant: SeccompAction) -> io::Result<()> {
    let here = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let filter = SeccompFilter::new(rules, others, meant, here).map_err(io::Error::other)?;
    let program = BpfProgram::try_from(filter).map_err(io::Error::other)?;
    seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)
}

/// Returns the names of calls that were refused and that this has not returned before.
pub(crate) fn refused() -> Vec<String> {
    let mut names = Vec::new();
    for (word, (refused, told)) in REFUSED.iter().zip(&TOLD).enumerate() {
        let new = refused.swap(0, Ordering::Relaxed);
        told.fetch_or(new, Ordering::Relaxed);
        for bit in (0..64).filter(|bit| new & 1 << bit != 0) {
            let number = word * 64 + bit;
            let name = Sysno::new(number).map(|call| call.name().to_owned());
            names.push(name.unwrap_or_else(|| format!("number {number}")));
        }
    }
    names
}

/// Has refused calls handled: each fails, and is noted.
fn handle_refusals() -> io::Result<()> {
    // SAFETY: `sigaction` is plain data, for which zeros are a value.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = on_refusal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_RESTART;
    // SAFETY: the action lives until the call returns, and its handler does nothing that a handler must not do.
    let result = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()) };
    Ok(Errno::result(result).map(drop)?)
}

/// Runs in the thread whose call was refused, in the place of the call. It touches nothing but atomics and the
/// registers that the thread goes on with.
extern "C" fn on_refusal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context: *mut libc::ucontext_t = context.cast();
    // SAFETY: the kernel gives a handler of this kind the registers of its thread, which nobody else has now.
    let Some(registers) = (unsafe { context.as_mut() }) else {
        return;
    };
    let number = registers::fail_with(registers, Errno::EPERM);
    let Some(number) = number.filter(|number| *number < NUMBERS) else {
        return;
    };
    let (word, bit) = (number / 64, 1 << (number % 64));
    if TOLD[word].load(Ordering::Relaxed) & bit == 0 {
        REFUSED[word].fetch_or(bit, Ordering::Relaxed);
    }
}

#[cfg(target_arch = "x86_64")]
mod registers {
    use nix::errno::Errno;
    use nix::libc;

    /// Lets a refused call return an error, and returns the number of the call.
    pub(super) fn fail_with(registers: &mut libc::ucontext_t, error: Errno) -> Option<usize> {
        // The kernel puts the number back where the result goes.
        let result = &mut registers.uc_mcontext.gregs[libc::REG_RAX as usize];
        let number = usize::try_from(*result).ok();
        *result = -i64::from(error as i32);
        number
    }
}

#[cfg(target_arch = "aarch64")]
mod registers {
    use nix::errno::Errno;
    use nix::libc;

    /// Lets a refused call return an error, and returns the number of the call.
    pub(super) fn fail_with(registers: &mut libc::ucontext_t, error: Errno) -> Option<usize> {
        let registers = &mut registers.uc_mcontext.regs;
        registers[0] = (-i64::from(error as i32)).cast_unsigned();
        usize::try_from(registers[8]).ok()
    }
}
