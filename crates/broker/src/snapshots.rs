//! Saving snapshots, for the shard.

use forebay_log::{Position, SnapshotError, SnapshotStore};

use crate::engine::Input;

/// Saves a snapshot and tells how that went.
pub(crate) fn save(store: &SnapshotStore, position: Position, payload: &[u8]) -> Input {
    let saved = store.save(position, payload);
    let kept: Result<_, SnapshotError> = saved.and_then(|()| store.positions());
    Input::SnapshotSaved(kept.map_err(|error| error.to_string()))
}
