//! Every maximum of the wire and the store, each with its reason. Passing one is a typed error that names limit and value.

/// One encoded event. Large objects belong in object storage with a link in the event; a megabyte still fits a phone's memory
/// and the peers' append limit of 512 KiB twice over when split.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// All attributes of one event together: a filter reads them for every event, and the attribute block's length is a u16.
pub const ATTRIBUTES_BYTES_MAX: usize = u16::MAX as usize;

/// Attributes of one event, extensions included: a filter scans them linearly.
pub const ATTRIBUTES_MAX: usize = 128;

/// Name of one attribute. CloudEvents recommends at most 20; the length is stored in one byte.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;

/// Name of a subscription.
pub const NAME_BYTES_MAX: usize = 128;

/// Text of a filter: it is stored per subscription, compiled at every resume, and kept in memory per follower.
pub const FILTER_BYTES_MAX: usize = 8 << 10;

/// Nesting of a filter: parser and compiler recurse.
pub const FILTER_DEPTH_MAX: usize = 64;

/// Steps one evaluation may take, fixed when the filter is compiled: bounds the cost of every published event.
pub const FILTER_STEPS_MAX: usize = 4096;

/// Values in one IN list.
pub const FILTER_IN_MAX: usize = 1024;

/// Characters between two `%` of a LIKE pattern if a `_` is among them: they are searched with one machine word of states.
pub const FILTER_LIKE_SEGMENT_MAX: usize = 64;

/// A filter written as JSON: it becomes a filter's text, which is no longer than [`FILTER_BYTES_MAX`], but may say it at length.
pub const FILTER_DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// Text that a function of a filter makes: nested calls must not multiply an event's size.
pub const FILTER_TEXT_BYTES_MAX: usize = 64 << 10;

/// Subscriptions of one client: its record is read and written whole.
pub const SUBSCRIPTIONS_PER_CLIENT_MAX: usize = 64;

/// Expired subscriptions that a client's record remembers until the client has been told: all it can have had at one time.
pub const TOMBSTONES_PER_CLIENT_MAX: usize = SUBSCRIPTIONS_PER_CLIENT_MAX;

/// Body of one frame on any stream: an event of maximal size with its batch header fits.
pub const FRAME_BYTES_MAX: usize = EVENT_BYTES_MAX + (64 << 10);

/// Body of one frame on the control stream: nothing there carries events.
pub const CONTROL_FRAME_BYTES_MAX: usize = 256 << 10;

/// Events of one published batch: numbers and offsets of a batch are answered together.
pub const BATCH_EVENTS_MAX: usize = 16 << 10;

/// Bytes at which the SDK closes a batch and the sequencer closes an entry: past this, batching gains nothing measurable,
/// and a peer's append must fit its time-out.
pub const ENTRY_BYTES_TARGET: usize = 256 << 10;

/// Body of one HTTP request: the largest event fits with its data in base64, and so does a batch of
/// thousands of small ones. It is held in memory until it is answered.
pub const HTTP_BODY_BYTES_MAX: usize = 2 << 20;

/// Request line and headers of one HTTP request, read before anybody is known: in binary mode an event's attributes are headers.
/// An event with more of them than this goes in structured mode.
pub const HTTP_HEAD_BYTES_MAX: usize = 64 << 10;

/// One record of the store: reading one event reads one record.
pub const RECORD_BYTES_TARGET: usize = 16 << 10;

/// Partitions of a cluster: positions are listed whole in a client's record.
pub const PARTITIONS_MAX: u16 = 256;

/// Brokers of a cluster: each has a replica of the metadata, and every pair of them is connected.
pub const BROKERS_MAX: usize = 64;

/// Where a broker is: a DNS name has at most 253 bytes, and a port follows. Every broker keeps the addresses of all.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Name of a service or a provider in the map.
pub const MAP_NAME_BYTES_MAX: usize = 64;

/// Rows of a map: six services at each of the most brokers, and others' services eight times as many. A map travels in control frames.
pub const MAP_POINTS_MAX: usize = 4096;

/// One row of the map: every client gets it.
pub const MAP_ROW_BYTES_MAX: usize = 2 << 10;

/// All rows of others' services together, encoded: with those of the most brokers they fit a control frame.
pub const MAP_OTHERS_BYTES_MAX: usize = 128 << 10;

/// Name of a zone.
pub const ZONE_BYTES_MAX: usize = 64;

/// Shortest and longest life of an unused subscription, in seconds.
pub const INACTIVE_EXPIRY_SECS_MIN: u64 = 60;
pub const INACTIVE_EXPIRY_SECS_MAX: u64 = 366 * 24 * 3600;
pub const INACTIVE_EXPIRY_SECS_DEFAULT: u64 = 30 * 24 * 3600;

/// For how long it is remembered that a subscription expired. A client that stays away for longer than the longest life of an
/// unused subscription has outlived whatever it could have asked to be kept, and a record must not only grow.
pub const TOMBSTONE_SECS_MAX: u64 = INACTIVE_EXPIRY_SECS_MAX;
