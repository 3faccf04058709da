//! What is known of one record at its place in a partition.

use forebay_base::{SessionId, Timestamp};

/// Whether a message is still to be done as work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody has been told that it was settled.
    Live,
    /// A client was told that it is settled, or saw that it must be.
    Settled,
    /// A client was told that it goes to the dead-letter topic.
    Moving,
}

/// A record at its place.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Which message it is.
    pub(crate) number: u64,
    /// The topic it was a dead letter of.
    pub(crate) source: Option<String>,
    /// It was confirmed, or seen: it cannot be lost any more.
    pub(crate) sure: bool,
    pub(crate) fate: Fate,
    /// Commands under way in this life that may settle it.
    pub(crate) doubts: u32,
    /// A command that may have settled it was under way when a life ended, or its outcome was
    /// never told.
    pub(crate) doubtful: bool,
    /// How often anybody received it.
    pub(crate) deliveries: u32,
    /// What the last delivery was counted as.
    pub(crate) attempt: u32,
    /// The last command that was sent about it.
    pub(crate) last_request: u64,
    /// It was received in the present life.
    pub(crate) known_here: bool,
    /// Durable knowledge: it must not be handed out before.
    pub(crate) not_before: Timestamp,
    /// As far as this life goes: somebody holds it until then.
    pub(crate) held_until: Timestamp,
    pub(crate) holder: Option<SessionId>,
    /// It had a delay at first, so that later ones may overtake it.
    pub(crate) delayed: bool,
    /// It was purged or trimmed, and may have become a dead letter before.
    pub(crate) swept: bool,
    /// Somebody who had it before may have let it go for whoever has it now: a crash, or a
    /// delivery that was given back uncounted, has made two deliveries count as the same.
    pub(crate) loose: bool,
    /// Its deliveries were given back uncounted now and then.
    pub(crate) uncounted: bool,
}

impl Place {
    pub(crate) fn new(number: u64, source: Option<String>) -> Self {
        Self {
            number,
            source,
            sure: false,
            fate: Fate::Live,
            doubts: 0,
            doubtful: false,
            deliveries: 0,
            attempt: 0,
            last_request: 0,
            known_here: false,
            not_before: Timestamp::default(),
            held_until: Timestamp::default(),
            holder: None,
            delayed: false,
            swept: false,
            loose: false,
            uncounted: false,
        }
    }

    /// Whether it must still be there as work, as far as its clients know.
    pub(crate) fn is_owed(&self) -> bool {
        self.sure && self.fate == Fate::Live && self.doubts == 0 && !self.doubtful
    }

    /// It went with others.
    pub(crate) fn sweep(&mut self) {
        self.swept |= self.fate != Fate::Settled;
        self.fate = Fate::Settled;
    }

    /// Nobody holds it any more, as far as its clients know.
    pub(crate) fn let_go(&mut self) {
        self.held_until = Timestamp::default();
        self.not_before = Timestamp::default();
        self.holder = None;
    }

    /// A life has ended.
    pub(crate) fn outlive(&mut self) {
        self.doubtful |= self.doubts > 0;
        self.doubts = 0;
        self.known_here = false;
        self.loose = false;
        self.held_until = Timestamp::default();
        self.holder = None;
    }
}
