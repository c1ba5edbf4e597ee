//! Calls that wait for a worker: in bounded queues, one for requests and one for what nobody waits for.

use super::frame::{Reply, Request};
use crate::error::KeyError;
use crossbeam_channel::{Receiver, Sender, TrySendError, select};
use crossbeam_utils::Backoff;
use futures_channel::oneshot;
use std::time::{Duration, Instant};

/// One call that waits for its reply.
pub(super) struct Call {
    pub(super) request: Request,
    pub(super) since: Instant,
    /// It was with a worker that ended.
    pub(super) is_repeat: bool,
    reply: oneshot::Sender<Result<Reply, KeyError>>,
}

impl Call {
    fn new(request: Request, reply: oneshot::Sender<Result<Reply, KeyError>>) -> Self {
        Self { request, since: Instant::now(), is_repeat: false, reply }
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.reply.is_canceled()
    }

    pub(super) fn answer(self, reply: Result<Reply, KeyError>) {
        // Fails where the caller has hung up, who then wants no answer.
        let _ = self.reply.send(reply);
    }
}

/// Where callers put their calls.
pub(super) struct Desk {
    requests: Sender<Call>,
    background: Sender<Call>,
    limit: usize,
}

/// Where workers find them. The desk's end ends it.
#[derive(Clone)]
pub(super) struct Waiting {
    requests: Receiver<Call>,
    background: Receiver<Call>,
    /// What workers left behind when they ended: for whichever is free first.
    left_behind: Receiver<Call>,
    again: Sender<Call>,
}

/// Why no call came.
pub(super) enum NoCall {
    /// There was none for so long.
    Quiet,
    /// The worker process ended.
    Gone,
    /// No caller is left.
    Closed,
}

/// A desk at which so many calls of each kind may wait, and the workers' side of it.
pub(super) fn desk(limit: usize) -> (Desk, Waiting) {
    let (to_requests, requests) = crossbeam_channel::bounded(limit);
    let (to_background, background) = crossbeam_channel::bounded(limit);
    // Holds at most what the workers have in hand, and each call once.
    let (again, left_behind) = crossbeam_channel::unbounded();
    let desk = Desk { requests: to_requests, background: to_background, limit };
    (desk, Waiting { requests, background, left_behind, again })
}

impl Desk {
    /// Puts a call where it waits; its answer comes by what is returned.
    pub(super) fn put(&self, request: Request) -> Result<oneshot::Receiver<Result<Reply, KeyError>>, KeyError> {
        let queue = if request.is_background() { &self.background } else { &self.requests };
        let (reply, answer) = oneshot::channel();
        match queue.try_send(Call::new(request, reply)) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => {
                Err(KeyError::away(format!("{} callers already wait for the HSM", self.limit)))
            }
            Err(TrySendError::Disconnected(_)) => Err(KeyError::away("the HSM workers have ended")),
        }
    }
}

impl Waiting {
    /// The next call, waited for: at first without giving up the processor, since waking a thread costs as much as a wrap.
    pub(super) fn first(
        &self,
        background_first: bool,
        gone: &Receiver<()>,
        patience: Duration,
    ) -> Result<Call, NoCall> {
        let mut queues = [&self.requests, &self.background];
        if background_first {
            queues.reverse();
        }
        let backoff = Backoff::new();
        while !backoff.is_completed() {
            let waiting = std::iter::once(&self.left_behind).chain(queues).find_map(|queue| queue.try_recv().ok());
            if let Some(call) = waiting {
                return Ok(call);
            }
            backoff.snooze();
        }
        select! {
            recv(self.left_behind) -> call => call.map_err(|_| NoCall::Closed),
            recv(self.requests) -> call => call.map_err(|_| NoCall::Closed),
            recv(self.background) -> call => call.map_err(|_| NoCall::Closed),
            recv(gone) -> _ => Err(NoCall::Gone),
            default(patience) => Err(NoCall::Quiet),
        }
    }

    /// One more of this kind, if it waits.
    pub(super) fn beside(&self, is_background: bool) -> Option<Call> {
        self.queue(is_background).try_recv().ok()
    }

    /// How many wait of this kind.
    pub(super) fn behind(&self, is_background: bool) -> usize {
        self.queue(is_background).len()
    }

    /// For another worker.
    pub(super) fn leave(&self, call: Call) {
        // Fails only where no receiver is left, and this is one.
        let _ = self.again.send(call);
    }

    fn queue(&self, is_background: bool) -> &Receiver<Call> {
        if is_background { &self.background } else { &self.requests }
    }
}
