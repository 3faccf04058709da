//! What goes wrong around the broker.

use forebay_log::{Fault, Operation, Trouble};

use super::{DATA, World, tell};
use crate::objects::ObjectFault;
use crate::violation::Audited;

impl World {
    pub(super) fn make_trouble(&mut self) -> Audited {
        self.disturbed = true;
        let rot = if self.profile.rot { 15 } else { 0 };
        match self.chance.weighted(&[3, 3, 3, 4, 2, 3, 2, rot]) {
            0 => self.arm_power_cut(),
            1 => self.fail_the_journal(),
            2 => self.fail_elsewhere(),
            3 => self.fail_reads(),
            4 => self.fail_objects(),
            5 if self.profile.cramped => self.take_room(),
            5 => self.calm(),
            6 => self.calm(),
            _ => return self.decay(),
        }
        Ok(())
    }

    /// The power will go in the middle of something.
    fn arm_power_cut(&mut self) {
        let operations = self.chance.between(1, 30);
        tell!(
            self,
            "the power will go at operation {operations} from here"
        );
        self.hurt = true;
        self.troubled = true;
        self.disk.fail_at(operations, Fault::PowerCut);
    }

    /// What the shard cannot go on without.
    fn fail_the_journal(&mut self) {
        let operation = [
            Operation::Write,
            Operation::Sync,
            Operation::Sync,
            Operation::Create,
            Operation::Rename,
            Operation::SyncDir,
            Operation::Allocate,
        ][usize::try_from(self.chance.below(7)).unwrap_or(0)];
        self.hurt = true;
        self.strike(operation, "journal", 1);
    }

    /// What it can go on without.
    fn fail_elsewhere(&mut self) {
        let operations = [
            Operation::Write,
            Operation::Sync,
            Operation::Create,
            Operation::Rename,
            Operation::SyncDir,
            Operation::Remove,
            Operation::List,
        ];
        let operation = operations[usize::try_from(self.chance.below(7)).unwrap_or(0)];
        let place = match self.chance.one_in(2) {
            true => "snapshots",
            false => "segments",
        };
        self.strike(operation, place, 4);
    }

    fn fail_reads(&mut self) {
        self.troubled = true;
        let operation = match self.chance.one_in(4) {
            true => Operation::Open,
            false => Operation::Read,
        };
        let place = match self.chance.one_in(2) {
            true => "journal",
            false => "segments",
        };
        // Opening a journal file is part of taking a spare one into use.
        self.hurt |= place == "journal" && operation == Operation::Open;
        self.strike(operation, place, 3);
    }

    fn strike(&mut self, operation: Operation, place: &str, most: u64) {
        let trouble = Trouble {
            operation,
            dir: format!("{DATA}/{place}").into(),
            after: self.chance.below(6),
            times: self.chance.between(1, most),
        };
        tell!(self, "{trouble:?}");
        self.stats.troubles += 1;
        self.disk.trouble(trouble);
    }

    fn fail_objects(&mut self) {
        let fault = [
            ObjectFault::Throttled,
            ObjectFault::TimedOutAfterSuccess,
            ObjectFault::ConnectionLost,
            ObjectFault::NotFound,
        ][usize::try_from(self.chance.below(4)).unwrap_or(0)];
        let times = self.chance.between(1, 4);
        tell!(self, "the object store: {fault:?}, {times} times");
        self.troubled = true;
        self.stats.object_faults += 1;
        self.objects.fail(fault, self.chance.below(4), times);
    }

    /// The disk fills up, or has room again.
    fn take_room(&mut self) {
        let used: u64 = self.disk.files().iter().map(|(_, size)| size).sum();
        let room = self.chance.below(4) * self.profile.file_bytes;
        let capacity = (!self.chance.one_in(3)).then_some(used + room);
        tell!(self, "the disk is {used} bytes full of {capacity:?}");
        if capacity.is_some() {
            self.stats.full += 1;
            self.cramped = true;
        }
        self.disk.set_capacity(capacity);
    }

    /// Everything works again, if it has not stopped.
    pub(super) fn calm(&mut self) {
        tell!(self, "all is calm");
        self.disk.calm();
        self.objects.calm();
        self.disk.set_capacity(None);
        self.troubled = self.disk.is_down();
    }

    /// A start that is to fail.
    pub(super) fn hurt_the_start(&mut self) {
        if self.chance.one_in(2) {
            let operations = self.chance.between(1, 12);
            tell!(
                self,
                "the power will go at operation {operations} of the start"
            );
            self.disk.fail_at(operations, Fault::PowerCut);
            return;
        }
        let operations = [
            Operation::Open,
            Operation::Read,
            Operation::List,
            Operation::Write,
            Operation::Sync,
            Operation::SyncDir,
            Operation::Remove,
        ];
        let operation = operations[usize::try_from(self.chance.below(7)).unwrap_or(0)];
        let trouble = Trouble {
            operation,
            dir: DATA.into(),
            after: self.chance.below(8),
            times: 1,
        };
        tell!(self, "{trouble:?}, at the start");
        self.disk.trouble(trouble);
    }
}
