//! The signals that end a measurement: the first in order, so that what was measured is kept; a second one at once.

use std::sync::Arc;

use nix::sys::signal::{SigSet, Signal};
use sockrates_core::files;
use sockrates_probe::process;
use tokio::sync::watch;

use crate::exit::{Exit, Failure, OrExit};
use crate::output;

/// The signals, held back in this thread and in all that it makes from now on. Children begin without that.
#[derive(Debug)]
pub(crate) struct Signals(SigSet);

impl Signals {
    /// Holds the signals back until someone listens. Comes before other threads are made.
    pub(crate) fn hold() -> Result<Self, Failure> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        // `nohup` has it ignored, and means it.
        if !process::is_ignored(Signal::SIGHUP) {
            set.add(Signal::SIGHUP);
        }
        set.thread_block()?;
        Ok(Self(set))
    }

    /// Makes the thread that waits for signals: it does `first` on the first one, and ends the process on the next.
    pub(crate) fn listen(self, first: impl FnOnce(Exit) + Send + 'static) -> Result<(), Failure> {
        let wait = move || {
            let mut first = Some(first);
            while let Ok(signal) = self.0.wait() {
                let exit = Exit::of_signal(signal);
                let Some(first) = first.take() else {
                    output::note("sockrates: ended at once, by a second signal");
                    files::stop_writing();
                    std::process::exit(exit as i32);
                };
                first(exit);
            }
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(wait)
            .or_exit(Exit::Environment, "make a thread that waits for signals")?;
        Ok(())
    }

    /// Listens, and tells whoever asks.
    pub(crate) fn watch(self) -> Result<Stop, Failure> {
        let (tell, told) = watch::channel(None);
        let tell = Arc::new(tell);
        let kept = Arc::clone(&tell);
        self.listen(move |exit| {
            tell.send_replace(Some(exit));
        })?;
        Ok(Stop { told, _tell: kept })
    }
}

/// Whether, and how, the measurement is to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    told: watch::Receiver<Option<Exit>>,
    /// Without it a channel whose thread is done would be over, and never say anything again.
    _tell: Arc<watch::Sender<Option<Exit>>>,
}

impl Stop {
    /// Returns what the first signal means, if one has come.
    pub(crate) fn now(&self) -> Option<Exit> {
        *self.told.borrow()
    }

    /// Waits for the first signal; returns at once when it has come.
    pub(crate) async fn asked(&mut self) -> Exit {
        let asked = self.told.wait_for(Option::is_some).await;
        asked
            .ok()
            .and_then(|exit| *exit)
            .expect("the sender is kept")
    }
}
