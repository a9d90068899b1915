//! The programs' own log lines (aya-log), for debugging.

use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::ctrl_c,
};

use super::{Places, device::Device, error::Error, journal, pins, sys};

/// Hands lines over to whoever prints them.
struct Printer<F>(F);

impl<F: Fn(&str) + Send + Sync> Log for Printer<F> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        (self.0)(&record.args().to_string());
    }

    fn flush(&self) {}
}

/// Gives every line that the programs of a device log to `print`, until interrupted. False: they
/// do not log, because the device was attached without it.
///
/// # Errors
///
/// If the device is not attached, or the kernel refuses.
pub fn follow(places: &Places, device: &str, print: impl Fn(&str) + Send + Sync) -> Result<bool, Error> {
    if !sys::is_root() {
        return Err(Error::NotRoot);
    }
    let device = Device::find(device)?;
    let key = journal::key(device.netns, device.ifindex);
    let Some(entry) = journal::entries(places)?.into_iter().find(|entry| entry.key() == key) else {
        return Err(Error::NotAttached { device: device.name, hint: String::new() });
    };
    if !entry.debug {
        return Ok(false);
    }
    // Both programs share one ring.
    let Some(id) = pins::programs(&pins::attached(places, &key)).into_iter().next() else {
        return Ok(false);
    };
    let Ok(logger) = EbpfLogger::init_from_id_with_logger(id, Printer(print)) else { return Ok(false) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("start the event loop"))?;
    runtime.block_on(async {
        // SAFETY: the logger's ring is one descriptor, which lives as long as the logger.
        let ready = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
        let mut ready = ready.map_err(|error| Error::system("wait for the log")(error.into()))?;
        loop {
            tokio::select! {
                _ = ctrl_c() => return Ok(true),
                guard = ready.readable_mut() => {
                    let mut guard = guard.map_err(Error::system("wait for the log"))?;
                    guard.get_inner_mut().flush();
                    guard.clear_ready();
                }
            }
        }
    })
}
