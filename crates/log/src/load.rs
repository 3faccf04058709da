//! Getting at commits and blocks: from the tail cache, from what was lately read back, or from the
//! disk, now or ahead of need.

use bytes::Bytes;

use crate::cold::{AHEAD_LEAST, AHEAD_MOST, Chunk};
use crate::commit::{COMMIT_HEADER, Commit, Head, head, is_whole};
use crate::disk::At;
use crate::file_header::FILE_HEADER;
use crate::position::Position;
use crate::reader::{LogReader, ReadError, Source};
use crate::walk::{Cursor, CursorPlace, Frame, Spot};

impl LogReader {
    /// Loads what a reader in sequence that stopped at `cursor` will want next, so that it finds
    /// it in memory. May read the disk. What cannot be read now is read, or told, when it is
    /// wanted.
    pub fn load_ahead(&self, cursor: &Cursor) {
        let Some(place) = cursor.place() else {
            return;
        };
        let loaded = match place.spot {
            Spot::Journal(frame) => self.load_journal_ahead(frame),
            Spot::Segment(_) => self.load_runs_ahead(place),
        };
        if let Err(error) = loaded {
            tracing::debug!(%error, "cannot read ahead");
        }
    }

    fn load_journal_ahead(&self, frame: Frame) -> Result<(), ReadError> {
        let mut at = frame.at;
        // What the reader is in the middle of, and what follows it.
        for _ in 0..2 {
            if at >= self.published() || self.tail.read().get(at).is_some() {
                return Ok(());
            }
            let known = self.cold.lock().get(at).map(|chunk| chunk.end);
            at = match known {
                Some(end) => end,
                None => self.read_from_disk(Frame::first_of(at, true), 0)?.end,
            };
        }
        Ok(())
    }

    fn load_runs_ahead(&self, place: &CursorPlace) -> Result<(), ReadError> {
        let Spot::Segment(at) = place.spot else {
            return Ok(());
        };
        let mut next = place.next;
        // The rest of a run may be little; then the one behind it is wanted soon.
        for _ in 0..2 {
            let known = self.place(place.partition, next);
            let Some(known) = known.filter(|known| known.start <= next && next < known.end) else {
                return Ok(());
            };
            match known.run {
                Some(run) if self.segments.load_ahead(&run, &at)? => next = run.end,
                Some(_) => return Ok(()),
                None => match known.at {
                    Some(at) => {
                        return self.load_journal_ahead(Frame::first_of(at, true));
                    }
                    None => return Ok(()),
                },
            }
        }
        Ok(())
    }

    /// The commit of `frame`, or the next one if a file was sealed there. `held` is what the
    /// reader read last, and `wants` how many bytes it is certain to want.
    pub(crate) fn load(
        &self,
        frame: Frame,
        source: Source,
        wants: usize,
        held: &mut Option<Chunk>,
    ) -> Result<Option<Commit>, ReadError> {
        let in_chunk = |chunk: &Chunk| chunk.get(frame.at, self.journal_id);
        if let Some(commit) = held.as_ref().and_then(in_chunk) {
            return Ok(Some(commit));
        }
        if let Some(commit) = self.tail.read().get(frame.at) {
            return Ok(Some(commit.clone()));
        }
        let known = self.cold.lock().get(frame.at).cloned();
        let chunk = match (known, source) {
            (Some(chunk), _) => chunk,
            (None, Source::CacheOnly) => return Ok(None),
            (None, Source::Disk) => self.read_from_disk(frame, wants)?,
        };
        let commit = in_chunk(&chunk).ok_or_else(|| self.damaged(frame.at))?;
        *held = Some(chunk);
        Ok(Some(commit))
    }

    /// A reader has gone through all of a chunk.
    pub(crate) fn done_with(&self, chunk: &Chunk) {
        self.cold.lock().set_done(chunk);
    }

    fn read_from_disk(&self, frame: Frame, wants: usize) -> Result<Chunk, ReadError> {
        let ahead = match frame.sequential {
            true => self.cold.lock().read_ahead(),
            false => AHEAD_LEAST,
        };
        let ahead = ahead.max(wants.min(AHEAD_MOST));
        let asked = frame.at;
        let mut at = asked;
        loop {
            let bytes = self.read_chunk(at, ahead)?;
            let mut end = at;
            let mut sealed = false;
            for commit in self.whole_commits(at, &bytes) {
                sealed = commit.is_seal();
                if sealed {
                    break;
                }
                end = commit.end;
            }
            let length = usize::try_from(end.0 - at.0).unwrap_or(0);
            if length > 0 {
                let chunk = Chunk::new(asked, at, bytes.slice(..length));
                self.cold.lock().put(chunk.clone());
                return Ok(chunk);
            }
            if !sealed {
                return Err(self.damaged(at));
            }
            let next = self.geometry.file_of(at) + 1;
            at = self.geometry.position(next, FILE_HEADER);
        }
    }

    /// Reads at least the commit at `at`, and about `ahead` bytes if there are as many.
    fn read_chunk(&self, at: Position, ahead: usize) -> Result<Bytes, ReadError> {
        let (number, byte) = (self.geometry.file_of(at), self.geometry.byte_of(at));
        let file = self.files.get(number)?.ok_or(ReadError::Dropped(at))?;
        let durable_here = self
            .durable_end()
            .0
            .saturating_sub(self.geometry.start_of(number).0);
        // A sealed file may be read to its end: the seal lies behind the last commit.
        let end = match durable_here > self.geometry.file_size {
            true => self.geometry.file_size,
            false => durable_here,
        };
        let room = usize::try_from(end.saturating_sub(byte)).unwrap_or(usize::MAX);
        if room < COMMIT_HEADER {
            return Err(self.damaged(at));
        }
        let path = self.files.path(number);
        let mut bytes = vec![0; ahead.clamp(COMMIT_HEADER, room)];
        file.read_at(byte, &mut bytes).at("read", &path)?;
        if let Head::Commit { length } = head(&bytes, at, self.journal_id) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > room {
                return Err(self.damaged(at));
            }
            let have = bytes.len();
            if length > have {
                bytes.resize(length, 0);
                file.read_at(byte + have as u64, &mut bytes[have..])
                    .at("read", &path)?;
            }
        }
        Ok(bytes.into())
    }

    /// The commits in `chunk`, which was read at `at`, as far as they are whole.
    fn whole_commits<'a>(
        &'a self,
        mut at: Position,
        chunk: &'a Bytes,
    ) -> impl Iterator<Item = Commit> + 'a {
        let mut done = 0;
        std::iter::from_fn(move || {
            let Head::Commit { length } = head(&chunk[done..], at, self.journal_id) else {
                return None;
            };
            let end = done.checked_add(usize::try_from(length).ok()?)?;
            let bytes = chunk.get(done..end).filter(
                |bytes| forebay_base::planted!(JournalReadUnchecked => true, else is_whole(bytes)),
            )?;
            let commit = Commit::new(at, chunk.slice_ref(bytes));
            (done, at) = (end, commit.end);
            Some(commit)
        })
    }

    /// What to say of a place without a whole commit. If its file was dropped meanwhile, the
    /// bytes are another file's by now.
    pub(crate) fn damaged(&self, position: Position) -> ReadError {
        let number = self.geometry.file_of(position);
        if !self.files.knows(number) {
            return ReadError::Dropped(position);
        }
        ReadError::Corrupt {
            file: self.files.path(number),
            position,
            byte: self.geometry.byte_of(position),
        }
    }
}
