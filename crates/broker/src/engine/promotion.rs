//! When the journal is worked off into segments, and with what result.
//!
//! One thing at a time: a survey, a plan that waits until it is durable, the writing, and the
//! frame that makes it true. So nothing that a plan rests on changes under it, and runs of one
//! partition are replaced by nobody else meanwhile.

use std::sync::Arc;

use forebay_base::{Timestamp, planted};
use forebay_log::{Chunk, Position, SegmentChange, SegmentInfo, Space};

use super::{Effect, Engine, Job};
use crate::promotion::{Plan, Work};
use crate::shard::Mark;

/// After a failure, the next try comes after so long, then after twice as long, and so on.
const RETRY_MS: u64 = 1_000;
const RETRY_AT_MOST_MS: u64 = 60_000;
/// Between two looks for segments that hold nothing, milliseconds.
const DELETE_MS: u64 = 1_000;

/// What is under way.
#[derive(Debug)]
enum Phase {
    Idle,
    /// A piece of work is being done.
    Working,
    /// A plan is made; the work begins when what it rests on is durable.
    Planned(Work),
    /// Segments are written; the frame that says so is on its way to the journal.
    Framed {
        below: Position,
    },
}

pub(super) struct Promotion {
    phase: Phase,
    /// The oldest position of the journal, and whether it is about to change.
    oldest: Position,
    dropping: bool,
    /// The journal below is in segments, or gone.
    worked_off: Position,
    /// Segments may have become empty.
    dead: bool,
    /// What an earlier life left behind was looked for.
    swept: bool,
    next_delete: Timestamp,
    tries: u32,
    retry_at: Timestamp,
    error: Option<Arc<str>>,
    bytes: u64,
}

impl Promotion {
    pub(super) fn new(oldest: Position) -> Self {
        Self {
            phase: Phase::Idle,
            oldest,
            dropping: false,
            worked_off: Position(0),
            dead: true,
            swept: false,
            next_delete: Timestamp(0),
            tries: 0,
            retry_at: Timestamp(0),
            error: None,
            bytes: 0,
        }
    }

    /// Whether a worker has something in hand.
    pub(super) fn is_working(&self) -> bool {
        matches!(self.phase, Phase::Working)
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    pub(super) fn oldest(&self) -> Position {
        self.oldest
    }

    /// Segments may hold less than before.
    pub(super) fn note_dead(&mut self) {
        self.dead = true;
    }

    pub(super) fn note_dropping(&mut self) {
        self.dropping = true;
    }
}

impl Engine {
    /// When something is to be begun although nothing arrives.
    pub(super) fn next_promotion(&self, now: Timestamp) -> Option<Timestamp> {
        let promotion = &self.promotion;
        if !promotion.is_idle() || self.stopping {
            return None;
        }
        let delete = promotion.dead.then_some(promotion.next_delete);
        let again = (promotion.tries > 0).then_some(promotion.retry_at);
        let due = self.due().map(|_| now);
        let compaction = self.next_compaction();
        let all = [due, delete, again, compaction, self.next_cleaning(now)];
        let next = all.into_iter().flatten().min();
        next.map(|next| next.max(promotion.retry_at))
    }

    /// Begins the next piece of work, if nothing is under way and something is to be done.
    pub(super) fn promote(&mut self, now: Timestamp) {
        let promotion = &mut self.promotion;
        if !promotion.is_idle() || self.stopping || now < promotion.retry_at {
            return;
        }
        if promotion.dead && now >= promotion.next_delete {
            promotion.dead = false;
            promotion.next_delete = now.plus_ms(DELETE_MS);
            let first = !std::mem::replace(&mut promotion.swept, true);
            let empty = |segment: &SegmentInfo| segment.live_bytes == 0;
            if first || self.reader.segments().iter().any(empty) {
                return self.begin(Work::DeleteDead);
            }
        }
        match self.due() {
            Some((below, max_batches)) => self.begin(Work::Survey { below, max_batches }),
            None => {
                if !self.compact(now) {
                    self.clean(now);
                }
            }
        }
    }

    /// Up to where the journal may be worked off, and how much of it at once, if it is long
    /// enough. What recovery may start from is not touched.
    fn due(&self) -> Option<(Position, usize)> {
        let snapshot = *self.snapshots.oldest()?;
        if self.promotion.dropping {
            return None;
        }
        let (retain, chunk, batches) = match self.space {
            Space::Ok => {
                let chunk = self.tuning.promote_files.saturating_mul(self.file_size);
                (self.retain_bytes, chunk, self.tuning.promote_batches)
            }
            Space::Low => (0, 0, 1),
        };
        let end = self.reader.durable_end();
        let oldest = self.promotion.oldest.max(self.promotion.worked_off);
        if end.0.saturating_sub(oldest.0) <= retain.saturating_add(chunk) {
            return None;
        }
        let below = snapshot.min(Position(end.0.saturating_sub(retain)));
        let whole = below.0 / self.file_size > oldest.0 / self.file_size;
        whole.then_some((below, batches))
    }

    fn begin(&mut self, work: Work) {
        self.promotion.phase = Phase::Working;
        self.effects.push_back(Effect::Job(Job::Promotion(work)));
    }

    /// Lets work begin when everything decided so far is durable.
    pub(super) fn begin_durably(&mut self, work: Work) {
        self.promotion.phase = Phase::Planned(work);
        self.shard.when_durable(Mark::Plan);
    }

    /// What lies in the oldest journal files: now it is decided what of it is kept.
    pub(super) fn surveyed(&mut self, now: Timestamp, surveyed: Result<Chunk, Arc<str>>) {
        match surveyed {
            Ok(chunk) => {
                let mut plan = Plan::default();
                for (partition, first, end) in chunk.partitions() {
                    if let Some(wanted) = self.shard.wanted(partition, first, end) {
                        plan.add(partition, wanted);
                    }
                }
                self.begin_durably(Work::Promote { chunk, plan });
            }
            Err(error) => self.failed(now, error),
        }
    }

    /// Segments are written: a frame makes them part of the log.
    pub(super) fn promoted(&mut self, now: Timestamp, promoted: Result<SegmentChange, Arc<str>>) {
        match promoted {
            Ok(change) => {
                self.succeeded();
                let bytes = change.segments.iter().map(|segment| segment.bytes);
                self.promotion.bytes += bytes.sum::<u64>();
                let below = change.below;
                planted!(DroppedBeforeFrame => self.effects.push_back(Effect::Job(Job::DropJournal(below))));
                self.promotion.phase = Phase::Framed { below };
                self.shard.push_segments(&change);
                self.shard.when_durable(Mark::Segments);
            }
            Err(error) => self.failed(now, error),
        }
    }

    pub(super) fn deleted(&mut self, now: Timestamp, deleted: Result<u64, Arc<str>>) {
        match deleted {
            Ok(_) => {
                self.promotion.phase = Phase::Idle;
                self.succeeded();
            }
            Err(error) => {
                self.promotion.dead = true;
                self.promotion.swept = false;
                self.failed(now, error);
            }
        }
        self.measure_segments();
    }

    /// Something that was to be durable is.
    pub(super) fn marked(&mut self, mark: Mark) {
        let phase = std::mem::replace(&mut self.promotion.phase, Phase::Idle);
        match (mark, phase) {
            // Nothing is begun any more that a stop would have to wait for.
            (Mark::Plan, Phase::Planned(_)) if self.stopping => {}
            (Mark::Plan, Phase::Planned(work)) => self.begin(work),
            (Mark::Segments, Phase::Framed { below }) => {
                let promotion = &mut self.promotion;
                promotion.worked_off = promotion.worked_off.max(below);
                promotion.dead = true;
                self.compacting.note();
                if below == Position(0) {
                    // What was written anew has left holes elsewhere.
                    self.cleaning.note();
                }
                self.measure_segments();
                self.drop_journal();
            }
            (_, phase) => self.promotion.phase = phase,
        }
    }

    pub(super) fn dropped(&mut self, oldest: Position) {
        self.promotion.oldest = self.promotion.oldest.max(oldest);
        self.promotion.dropping = false;
    }

    fn failed(&mut self, now: Timestamp, error: Arc<str>) {
        let promotion = &mut self.promotion;
        promotion.phase = Phase::Idle;
        let wait = RETRY_MS << promotion.tries.min(6);
        promotion.tries = promotion.tries.saturating_add(1);
        promotion.retry_at = now.plus_ms(wait.min(RETRY_AT_MOST_MS));
        if promotion.error.as_ref() != Some(&error) {
            tracing::warn!(%error, "the journal cannot be worked off now; it is tried again");
            promotion.error = Some(error);
        }
        self.counters.storage_error = self.promotion.error.clone();
        // What a pass had found is to be found again.
        self.cleaning.note();
    }

    fn succeeded(&mut self) {
        let promotion = &mut self.promotion;
        promotion.tries = 0;
        promotion.retry_at = Timestamp(0);
        if promotion.error.take().is_some() {
            tracing::info!("the journal is worked off again");
        }
        self.counters.storage_error = None;
    }

    fn measure_segments(&mut self) {
        let segments = self.reader.segments();
        self.counters.segments = segments.len() as u64;
        self.counters.segment_bytes = segments.iter().map(|segment| segment.bytes).sum();
        self.counters.promoted_bytes = self.promotion.bytes;
    }
}
