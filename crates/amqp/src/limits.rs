//! Every limit of this front end by name, so that the memory one connection can take is a sum one
//! can do on paper.

/// Largest frame offered in `connection.tune`, bytes, the eight of its envelope included.
pub(crate) const FRAME_MAX: u32 = 131_072;
/// No peer may ask for smaller frames (AMQP 0-9-1, 4.2.3; RabbitMQ raised 4,096 to this).
pub(crate) const FRAME_MIN: u32 = 8_192;
/// Highest channel number offered.
pub(crate) const CHANNEL_MAX: u16 = 2_047;
/// Heartbeat interval offered, seconds.
pub(crate) const HEARTBEAT_S: u16 = 60;
/// Largest message body, bytes.
pub(crate) const MESSAGE_MAX: usize = 16 << 20;
/// Bodies that have arrived in part, all channels of a connection together, bytes.
pub(crate) const PARTIAL_BODIES_MAX: usize = 64 << 20;

/// What a channel keeps of its buffer for bodies between messages, bytes.
pub(crate) const BODY_KEEP: usize = 16 << 10;

/// From the protocol header to `connection.open`, milliseconds.
pub(crate) const HANDSHAKE_MS: u64 = 10_000;
/// How long a peer may take to answer `connection.close`, milliseconds.
pub(crate) const CLOSE_MS: u64 = 3_000;
/// How long [`crate::serve`] waits for its connections at the end, milliseconds.
pub(crate) const DRAIN_MS: u64 = 5_000;

/// The read buffer an idle connection keeps, bytes.
pub(crate) const READ_BUFFER: usize = 16 << 10;
/// How far the read buffer grows under load, bytes. Must hold one frame of [`FRAME_MAX`].
pub(crate) const READ_BUFFER_MAX: usize = 256 << 10;
/// Above this much unwritten output no session event is taken, bytes.
pub(crate) const WRITE_HIGH: usize = 1 << 20;
/// The write buffer keeps no more than this when it is empty, bytes.
pub(crate) const WRITE_KEEP: usize = 64 << 10;

/// Published messages without an answer from the shard; at this many the socket is not read.
pub(crate) const UNANSWERED_MESSAGES: usize = 65_536;
/// The same in bytes of record batches.
pub(crate) const UNANSWERED_BYTES: usize = 16 << 20;
/// Consecutive messages for one target share a record batch up to this size, bytes. A batch of
/// one message may be larger.
pub(crate) const BATCH_BYTES: usize = 256 << 10;
/// And up to this many messages.
pub(crate) const BATCH_MESSAGES: usize = 512;

/// Deliveries a consumer without prefetch limit may be ahead of the socket.
pub(crate) const WINDOW: u32 = 2_000;
/// Unacknowledged deliveries of one channel whose consumers set no limit.
pub(crate) const UNACKED_MAX: usize = 100_000;
/// Deliveries read from the broker at a time, at most.
pub(crate) const READ_MESSAGES: u32 = 2_048;
/// Bytes wanted from one such read, by the weight of the messages written before.
pub(crate) const READ_BYTES: usize = 512 << 10;

/// Direct replies on their way to one connection, at most.
pub(crate) const REPLIES_MAX: usize = 1_024;
/// And their bytes.
pub(crate) const REPLY_BYTES_MAX: usize = 32 << 20;

/// Tables and arrays inside each other, at most.
pub(crate) const TABLE_DEPTH: usize = 32;
