//! The connections that are open: how many there are, what they say of themselves, and how to end
//! one. A connection is asked and answers when it has a moment, so nothing is written down for
//! every message.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use amq_protocol::types::FieldTable;
use forebay_base::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// What is asked of a connection.
#[derive(Debug)]
pub(crate) enum Ask {
    Report(oneshot::Sender<ConnectionReport>),
    /// To end, for this reason.
    Close(String),
}

/// A connection, as it describes itself.
#[derive(Clone, Debug)]
pub struct ConnectionReport {
    /// `PEER -> OWN`, with ports.
    pub name: String,
    /// The peer.
    pub peer: SocketAddr,
    /// This side.
    pub own: SocketAddr,
    /// The user.
    pub user: Arc<str>,
    /// The virtual host.
    pub vhost: Arc<str>,
    /// When it opened.
    pub opened: Timestamp,
    /// How the user was recognised.
    pub mechanism: &'static str,
    /// What the client says of itself.
    pub client_properties: FieldTable,
    /// The agreed limit, bytes.
    pub frame_max: usize,
    /// The agreed limit.
    pub channel_max: u16,
    /// The agreed interval, seconds.
    pub heartbeat: u16,
    /// Bytes that came.
    pub received: u64,
    /// Bytes that went.
    pub sent: u64,
    /// Publishing is held up.
    pub blocked: bool,
    /// Its channels, by number.
    pub channels: Vec<ChannelReport>,
}

/// A channel, as its connection describes it.
#[derive(Clone, Debug)]
pub struct ChannelReport {
    /// Its number.
    pub number: u16,
    /// The prefetch of consumers to come; 0 sets no limit.
    pub prefetch: u32,
    /// Unacked deliveries its consumers together may have; 0 sets no limit.
    pub shared_prefetch: u32,
    /// Deliveries that are not acked.
    pub unacked: usize,
    /// Messages that are not confirmed.
    pub unconfirmed: u64,
    /// Whether it confirms.
    pub confirms: bool,
    /// Its consumers.
    pub consumers: Vec<ConsumerReport>,
}

/// A consumer, as its connection describes it.
#[derive(Clone, Debug)]
pub struct ConsumerReport {
    /// Its tag.
    pub tag: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// Its deliveries count as acked.
    pub no_ack: bool,
    /// Its prefetch; 0 sets no limit.
    pub prefetch: u32,
    /// No other beside it.
    pub exclusive: bool,
    /// Served before those of a lower one.
    pub priority: i32,
}

#[derive(Debug)]
struct Entry {
    user: Arc<str>,
    vhost: Arc<str>,
    asks: mpsc::UnboundedSender<Ask>,
}

/// How many connections may be open at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) of_vhost: Option<usize>,
    pub(crate) of_user: Option<usize>,
}

/// A limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    OfVhost(usize),
    OfUser(usize),
}

/// All open connections of a server.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    entries: Arc<Mutex<BTreeMap<u64, Entry>>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    closed: AtomicU64,
}

/// A connection's place in the roster, which it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    roster: Roster,
    pub(crate) asks: mpsc::UnboundedReceiver<Ask>,
}

impl Roster {
    /// Takes a place, unless there are too many already.
    pub(crate) fn enter(
        &self,
        user: &Arc<str>,
        vhost: &Arc<str>,
        limits: Limits,
    ) -> Result<Place, Reached> {
        let mut entries = self.entries.lock();
        let count = |of: &dyn Fn(&Entry) -> bool| entries.values().filter(|one| of(one)).count();
        if let Some(limit) = limits.of_user
            && count(&|one| one.user == *user) >= limit
        {
            return Err(Reached::OfUser(limit));
        }
        if let Some(limit) = limits.of_vhost
            && count(&|one| one.vhost == *vhost) >= limit
        {
            return Err(Reached::OfVhost(limit));
        }
        let id = self.counts.opened.fetch_add(1, Ordering::Relaxed);
        let (sender, asks) = mpsc::unbounded_channel();
        let entry = Entry {
            user: user.clone(),
            vhost: vhost.clone(),
            asks: sender,
        };
        entries.insert(id, entry);
        Ok(Place {
            id,
            roster: self.clone(),
            asks,
        })
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.entries.lock().is_empty()
    }

    /// How many were opened, and how many closed, since the start.
    pub fn counts(&self) -> (u64, u64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(&self.counts.opened), load(&self.counts.closed))
    }

    /// Asks all for what they are. One that ends meanwhile is left out.
    pub async fn reports(&self) -> Vec<ConnectionReport> {
        let mut answers = Vec::new();
        for entry in self.entries.lock().values() {
            let (sender, answer) = oneshot::channel();
            if entry.asks.send(Ask::Report(sender)).is_ok() {
                answers.push(answer);
            }
        }
        let mut reports = Vec::with_capacity(answers.len());
        for answer in answers {
            reports.extend(answer.await);
        }
        reports
    }

    /// Ends the connection of that name. Whether there is one.
    pub async fn close(&self, name: &str, reason: &str) -> bool {
        let asks: Vec<_> = {
            let entries = self.entries.lock();
            entries.values().map(|entry| entry.asks.clone()).collect()
        };
        for ask in asks {
            let (sender, answer) = oneshot::channel();
            let found = ask.send(Ask::Report(sender)).is_ok()
                && answer.await.is_ok_and(|report| report.name == name);
            if found {
                return ask.send(Ask::Close(reason.to_owned())).is_ok();
            }
        }
        false
    }

    /// Ends all connections of a user.
    pub fn close_user(&self, user: &str, reason: &str) -> usize {
        self.close_where(|entry| &*entry.user == user, reason)
    }

    /// Ends all connections to a virtual host.
    pub fn close_vhost(&self, vhost: &str, reason: &str) -> usize {
        self.close_where(|entry| &*entry.vhost == vhost, reason)
    }

    fn close_where(&self, which: impl Fn(&Entry) -> bool, reason: &str) -> usize {
        let entries = self.entries.lock();
        let found = entries.values().filter(|entry| which(entry));
        found
            .filter(|entry| entry.asks.send(Ask::Close(reason.to_owned())).is_ok())
            .count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roster.entries.lock().remove(&self.id);
        self.roster.counts.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_counts_those_who_are_there() {
        let roster = Roster::default();
        let enter = |user: &str, vhost: &str| {
            let limits = Limits {
                of_vhost: Some(2),
                of_user: Some(1),
            };
            roster.enter(&user.into(), &vhost.into(), limits)
        };
        let first = enter("a", "v").unwrap();
        assert_eq!(enter("a", "w").unwrap_err(), Reached::OfUser(1));
        let _second = enter("b", "v").unwrap();
        assert_eq!(enter("c", "v").unwrap_err(), Reached::OfVhost(2));
        drop(first);
        assert!(enter("c", "v").is_ok());
        assert_eq!(roster.counts(), (3, 2));
    }
}
