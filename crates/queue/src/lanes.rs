//! Ordered groups: one group is one lane, and a lane hands out its messages in order.
//!
//! Every message that is not settled has a slot of eight bytes: its lane, its state, and how far
//! it is to the next message of the lane. Slots lie in chunks by offset, and a chunk goes with its
//! last message. A lane knows its first message; the lanes that may hand it out are kept in order
//! of it, so what is next is known at once however many lanes are held up.

mod stored;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasherDefault;

use forebay_base::Offset;

use crate::hashed::Hashed;
use crate::run::Span;
use crate::view::Away;

/// Slots of one chunk.
const CHUNK: u64 = 512;
/// The distance that stands for one that is kept in `far`.
const FAR: u32 = u32::MAX;

/// Where a message of a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It may be handed out, now or when it is durable.
    Waiting = 0,
    Leased = 1,
    Delayed = 2,
    Settled = 3,
}

impl Place {
    pub(crate) fn of(away: &Away) -> Self {
        match away {
            Away::Leased { .. } => Self::Leased,
            Away::Delayed { .. } => Self::Delayed,
        }
    }
}

/// One message: the place in the upper two bits of `lane`, the lane's number in the others.
#[derive(Clone, Copy, Debug)]
struct Slot {
    lane: u32,
    /// How far the next message of the lane is; 0 if there is none yet.
    next: u32,
}

const PLACE_SHIFT: u32 = 30;
/// The number of no lane: the slot is empty.
const NO_LANE: u32 = (1 << PLACE_SHIFT) - 1;

impl Slot {
    const EMPTY: Self = Self {
        lane: NO_LANE,
        next: 0,
    };

    fn lane(self) -> u32 {
        self.lane & NO_LANE
    }

    fn is_empty(self) -> bool {
        self.lane() == NO_LANE
    }

    fn place(self) -> Place {
        match self.lane >> PLACE_SHIFT {
            0 => Place::Waiting,
            1 => Place::Leased,
            2 => Place::Delayed,
            _ => Place::Settled,
        }
    }

    fn put(&mut self, place: Place) {
        self.lane = self.lane() | (place as u32) << PLACE_SHIFT;
    }
}

#[derive(Clone, Debug)]
struct Chunk {
    /// How many slots are not empty.
    used: u32,
    slots: [Slot; CHUNK as usize],
}

impl Chunk {
    fn new() -> Box<Self> {
        Box::new(Self {
            used: 0,
            slots: [Slot::EMPTY; CHUNK as usize],
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    key: u64,
    /// The first message that is not settled.
    head: Offset,
    /// The last message, settled or not.
    tail: Offset,
    leased: u32,
    open: bool,
}

/// The lanes of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes {
    /// The offset after the last message that was appended.
    next: Offset,
    chunks: BTreeMap<u64, Box<Chunk>>,
    lanes: Vec<Lane>,
    free: Vec<u32>,
    by_key: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    /// The lanes whose first message may be handed out, by that message.
    open: BTreeSet<(Offset, u32)>,
    /// Next messages that are farther away than a slot can say.
    far: BTreeMap<Offset, Offset>,
    /// Lanes with a message whose place changed since [`Lanes::refresh`].
    touched: Vec<u32>,
}

fn place_of(offset: Offset) -> (u64, usize) {
    // The remainder is less than 512.
    (offset / CHUNK, (offset % CHUNK) as usize)
}

impl Lanes {
    pub(crate) fn starting_at(start: Offset) -> Self {
        Self {
            next: start,
            ..Self::default()
        }
    }

    /// Messages were appended, of the groups `keys`. What lies below the end of the lanes is known
    /// already and is left out.
    pub(crate) fn append(&mut self, first: Offset, keys: impl Iterator<Item = u64>) {
        for (offset, key) in (first..=Span::LAST).zip(keys) {
            if offset < self.next {
                continue;
            }
            self.next = offset + 1;
            let Some(lane) = self.join(offset, key) else {
                return;
            };
            let (chunk, index) = place_of(offset);
            let chunk = self.chunks.entry(chunk).or_insert_with(Chunk::new);
            chunk.used += 1;
            chunk.slots[index] = Slot { lane, next: 0 };
        }
    }

    /// Puts the message behind the last one of its lane. `None` if there are too many lanes.
    fn join(&mut self, offset: Offset, key: u64) -> Option<u32> {
        let vacant = match self.by_key.entry(key) {
            Entry::Occupied(known) => {
                let number = *known.get();
                let lane = &mut self.lanes[number as usize];
                let tail = std::mem::replace(&mut lane.tail, offset);
                self.link(tail, offset);
                return Some(number);
            }
            Entry::Vacant(vacant) => vacant,
        };
        let lane = Lane {
            key,
            head: offset,
            tail: offset,
            leased: 0,
            open: true,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.lanes[number as usize] = lane;
                number
            }
            None => {
                let number = u32::try_from(self.lanes.len()).ok();
                let number = number.filter(|number| *number < NO_LANE)?;
                self.lanes.push(lane);
                number
            }
        };
        vacant.insert(number);
        self.open.insert((offset, number));
        Some(number)
    }

    fn link(&mut self, from: Offset, to: Offset) {
        let distance = u32::try_from(to - from).unwrap_or(FAR);
        if distance == FAR {
            self.far.insert(from, to);
        }
        if let Some(slot) = self.slot_mut(from) {
            slot.next = distance;
        }
    }

    fn slot(&self, offset: Offset) -> Option<Slot> {
        let (chunk, index) = place_of(offset);
        let slot = self.chunks.get(&chunk)?.slots[index];
        (!slot.is_empty()).then_some(slot)
    }

    fn slot_mut(&mut self, offset: Offset) -> Option<&mut Slot> {
        let (chunk, index) = place_of(offset);
        let slot = &mut self.chunks.get_mut(&chunk)?.slots[index];
        (!slot.is_empty()).then_some(slot)
    }

    fn after(&self, offset: Offset, slot: Slot) -> Option<Offset> {
        match slot.next {
            0 => None,
            FAR => self.far.get(&offset).copied(),
            distance => Some(offset + u64::from(distance)),
        }
    }

    /// The messages of `span` went to `place`. To be followed by [`Lanes::refresh`].
    pub(crate) fn put(&mut self, span: Span, place: Place) {
        let (first, last) = (place_of(span.first), place_of(span.last));
        for (&number, chunk) in self.chunks.range_mut(first.0..=last.0) {
            let from = if number == first.0 { first.1 } else { 0 };
            let to = if number == last.0 {
                last.1
            } else {
                CHUNK as usize - 1
            };
            for slot in &mut chunk.slots[from..=to] {
                let was = slot.place();
                if slot.is_empty() || was == Place::Settled || was == place {
                    continue;
                }
                slot.put(place);
                let number = slot.lane();
                let lane = &mut self.lanes[number as usize];
                lane.leased -= u32::from(was == Place::Leased);
                lane.leased += u32::from(place == Place::Leased);
                if self.touched.last() != Some(&number) {
                    self.touched.push(number);
                }
            }
        }
    }

    /// Finds out anew what the lanes that were touched may hand out.
    pub(crate) fn refresh(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for number in touched.drain(..) {
            self.refresh_lane(number);
        }
        self.touched = touched;
        // A purge of many lanes leaves no more memory behind than ordinary work.
        self.touched.shrink_to(1024);
    }

    fn refresh_lane(&mut self, number: u32) {
        let Lane {
            key,
            head: was,
            leased,
            open: was_open,
            ..
        } = self.lanes[number as usize];
        let mut head = was;
        let first = loop {
            let Some(slot) = self.slot(head) else {
                break None;
            };
            if slot.place() != Place::Settled {
                break Some(slot);
            }
            let after = self.after(head, slot);
            self.clear(head);
            match after {
                Some(after) => head = after,
                None => break None,
            }
        };
        let open = leased == 0 && first.is_some_and(|slot| slot.place() == Place::Waiting);
        if was_open && !(open && head == was) {
            self.open.remove(&(was, number));
        }
        if open && !(was_open && head == was) {
            self.open.insert((head, number));
        }
        if first.is_none() {
            self.by_key.remove(&key);
            self.free.push(number);
        }
        let lane = &mut self.lanes[number as usize];
        (lane.head, lane.open) = (head, open);
        if self.by_key.is_empty() {
            (self.lanes, self.free) = (Vec::new(), Vec::new());
        }
    }

    fn clear(&mut self, offset: Offset) {
        let (number, index) = place_of(offset);
        let Some(chunk) = self.chunks.get_mut(&number) else {
            return;
        };
        if chunk.slots[index].next == FAR {
            self.far.remove(&offset);
        }
        chunk.slots[index] = Slot::EMPTY;
        chunk.used -= 1;
        if chunk.used == 0 {
            self.chunks.remove(&number);
        }
    }

    /// The first messages of the lanes that may hand out something, lowest first.
    pub(crate) fn open(&self) -> impl Iterator<Item = Offset> + '_ {
        self.open.iter().map(|&(head, _)| head)
    }

    /// The messages of a lane that may be handed out together: from `head` on, up to the first
    /// one that is delayed.
    pub(crate) fn waiting(&self, head: Offset) -> impl Iterator<Item = Offset> + '_ {
        let mut at = Some(head);
        std::iter::from_fn(move || {
            loop {
                let offset = at?;
                let slot = self.slot(offset)?;
                at = self.after(offset, slot);
                match slot.place() {
                    Place::Waiting => return Some(offset),
                    Place::Settled => {}
                    Place::Leased | Place::Delayed => return None,
                }
            }
        })
    }

    /// Every message that is not settled, lowest first, with its group and its place.
    fn unsettled(&self) -> impl Iterator<Item = (Offset, u64, Place)> + '_ {
        let key = |number: u32| self.lanes[number as usize].key;
        let slots = self.unsettled_slots();
        slots.map(move |(offset, slot)| (offset, key(slot.lane()), slot.place()))
    }

    fn unsettled_slots(&self) -> impl Iterator<Item = (Offset, Slot)> + '_ {
        self.chunks.iter().flat_map(move |(&number, chunk)| {
            let slots = (number * CHUNK..).zip(&chunk.slots);
            slots.filter_map(|(offset, slot)| {
                let live = !slot.is_empty() && slot.place() != Place::Settled;
                live.then_some((offset, *slot))
            })
        })
    }
}

impl PartialEq for Lanes {
    fn eq(&self, other: &Self) -> bool {
        self.next == other.next && self.unsettled().eq(other.unsettled())
    }
}

impl Eq for Lanes {}
