//! How many deliveries a consumer may still get. Credit is always finite: it is a prefetch limit
//! that settling gives back, or a window that writing to the socket gives back.

use crate::limits::{UNACKED_MAX, WINDOW};

/// The credit of one standing consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Credit {
    /// At most so many unacked: each settlement gives one back.
    Prefetch(u32),
    /// A window that moves with the socket. `granted` deliveries are allowed and have not come.
    Window { granted: u32, acked: bool },
}

impl Credit {
    /// For a consumer with a prefetch count of `prefetch` (0: none set) that acks or does not.
    pub(crate) fn new(prefetch: u32, no_ack: bool) -> Self {
        if no_ack || prefetch == 0 {
            Self::Window {
                granted: WINDOW,
                acked: !no_ack,
            }
        } else {
            Self::Prefetch(prefetch)
        }
    }

    /// What to grant at the beginning.
    pub(crate) fn initial(&self) -> u32 {
        match *self {
            Self::Prefetch(limit) => limit,
            Self::Window { granted, .. } => granted,
        }
    }

    /// `count` deliveries came. Whether the window is now half empty.
    pub(crate) fn delivered(&mut self, count: u32) -> bool {
        match self {
            Self::Prefetch(_) => false,
            Self::Window { granted, .. } => {
                *granted = granted.saturating_sub(count);
                self.is_low()
            }
        }
    }

    /// Whether a window is half empty.
    pub(crate) fn is_low(&self) -> bool {
        matches!(self, Self::Window { granted, .. } if *granted <= WINDOW / 2)
    }

    /// What settling `count` deliveries gives back.
    pub(crate) fn settled(&self, count: u32) -> u32 {
        match self {
            Self::Prefetch(_) => count,
            Self::Window { .. } => 0,
        }
    }

    /// What to grant now that the socket has taken what was written, while `unacked` deliveries of
    /// the channel wait for an ack.
    pub(crate) fn refill(&mut self, unacked: usize) -> u32 {
        if !self.is_low() {
            return 0;
        }
        let Self::Window { granted, acked } = self else {
            return 0;
        };
        let room = if *acked {
            let room = UNACKED_MAX.saturating_sub(unacked);
            u32::try_from(room).unwrap_or(u32::MAX)
        } else {
            u32::MAX
        };
        let add = (WINDOW - *granted).min(room.saturating_sub(*granted));
        *granted += add;
        add
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefetch_is_given_back_by_settling_only() {
        let mut credit = Credit::new(10, false);
        assert_eq!(credit.initial(), 10);
        assert!(!credit.delivered(10));
        assert_eq!(credit.refill(0), 0);
        assert_eq!(credit.settled(4), 4);
    }

    #[test]
    fn a_consumer_that_does_not_ack_ignores_prefetch() {
        let mut credit = Credit::new(10, true);
        assert_eq!(credit.initial(), WINDOW);
        assert_eq!(credit.settled(4), 0);
        assert!(!credit.delivered(1));
        assert_eq!(credit.refill(0), 0);
        assert!(credit.delivered(WINDOW - 1));
        assert_eq!(credit.refill(UNACKED_MAX), WINDOW);
    }

    #[test]
    fn without_prefetch_the_unacked_of_a_channel_are_capped() {
        let mut credit = Credit::new(0, false);
        assert!(credit.delivered(WINDOW));
        assert_eq!(credit.refill(UNACKED_MAX), 0);
        assert_eq!(credit.refill(UNACKED_MAX - 5), 5);
        assert_eq!(credit.refill(UNACKED_MAX - 5), 0);
        assert_eq!(credit.refill(0), WINDOW - 5);
    }
}
