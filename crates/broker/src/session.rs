//! Sessions, as front ends hold them.

use std::sync::Arc;

use forebay_base::SessionId;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::mailbox::Inner;
use crate::{Command, Event, Refusal, Reply, RequestId};

/// A session. It gets its events in the order they happened; dropping it ends it: its leases are
/// released, its consumers and its exclusive topics go.
///
/// Events are not bounded by count: what can arrive is bounded by the credit a session has given
/// and the commands it has sent and not seen answered.
#[derive(Debug)]
pub struct Session {
    handle: SessionHandle,
    events: UnboundedReceiver<Event>,
}

/// Sends commands for a session.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    id: SessionId,
    inner: Arc<Inner>,
}

impl Session {
    pub(crate) fn new(id: SessionId, inner: Arc<Inner>, events: UnboundedReceiver<Event>) -> Self {
        Self {
            handle: SessionHandle { id, inner },
            events,
        }
    }

    /// Its id.
    pub fn id(&self) -> SessionId {
        self.handle.id
    }

    /// What commands are sent with.
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }

    /// The next event; `None` when the broker has stopped. Can be cancelled without loss.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.handle.inner.end_session(self.handle.id);
    }
}

impl SessionHandle {
    /// Sends a command without waiting for its reply, which comes as [`Event::Reply`]. Waits while
    /// the shard has too much to do already: that is backpressure. Commands of one session are
    /// decided in the order they were sent.
    ///
    /// # Errors
    /// [`Refusal::Stopping`] only.
    pub async fn submit(&self, command: Command) -> Result<RequestId, Refusal> {
        let request = self.inner.next_request();
        self.inner.send(self.id, request, command).await?;
        Ok(request)
    }

    /// Sends a command whose reply nobody wants.
    ///
    /// # Errors
    /// [`Refusal::Stopping`] only.
    pub async fn tell(&self, command: Command) -> Result<(), Refusal> {
        self.inner.send(self.id, RequestId(0), command).await
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// Whatever the shard refuses.
    pub async fn call(&self, command: Command) -> Result<Reply, Refusal> {
        self.inner.call(self.id, command).await
    }
}
