//! The record headers that Forebay itself gives a meaning, whatever protocol wrote the record.
//! `docs/mapping.md` tells how each protocol's fields become these and come back.

/// The message's id: a UUID in its usual 36 characters. Records without it have the id that
/// [`derived_id`] gives.
pub const ID: &str = "forebay.id";
/// The exchange a message was published to; absent means the default exchange.
pub const EXCHANGE: &str = "forebay.exchange";
/// The routing key a message was published with; absent means the name of the topic it lies in.
pub const ROUTING_KEY: &str = "forebay.routing-key";
/// The name of the topic a dead-lettered message came from.
pub const DEAD_LETTER_SOURCE: &str = "forebay.dead-letter.source";
/// Why it was dead-lettered: one of the words of [`crate::Refusal`]'s sibling, the reason:
/// `max-deliveries`, `rejected`, `expired`.
pub const DEAD_LETTER_REASON: &str = "forebay.dead-letter.reason";
/// How often it had been delivered when it was dead-lettered, in decimal.
pub const DEAD_LETTER_DELIVERIES: &str = "forebay.dead-letter.deliveries";
/// When it was dead-lettered, in milliseconds since 1970, in decimal.
pub const DEAD_LETTER_TIME: &str = "forebay.dead-letter.time";
/// All its deaths, as [`crate::Deaths`] writes them.
pub const DEAD_LETTER_HISTORY: &str = "forebay.dead-letter.history";
/// What the names of the headers about dead letters start with.
pub(crate) const DEAD_LETTER_PREFIX: &str = "forebay.dead-letter.";
/// Headers whose name starts so belong to Forebay: front ends do not show them as the user's own.
pub const RESERVED_PREFIX: &str = "forebay.";

/// The id of a record that carries no [`ID`] header: a version 8 UUID made of where it lies, so it
/// is the same at every reading.
pub fn derived_id(partition: forebay_base::PartitionId, offset: forebay_base::Offset) -> u128 {
    let raw = (u128::from(partition.0) << 64) | u128::from(offset);
    const VERSION: u128 = 0x8 << 76;
    const VARIANT: u128 = 0b10 << 62;
    (raw & !(0xf << 76) & !(0b11 << 62)) | VERSION | VARIANT
}
