//! The layouts themselves, one constant for each kind of request.

use super::{Layout, Part, Struct, Tagged, always, between, plain, since, until};

const BOOL: Part = Part::Fixed(1);
const INT8: Part = Part::Fixed(1);
const INT16: Part = Part::Fixed(2);
const INT32: Part = Part::Fixed(4);
const INT64: Part = Part::Fixed(8);
const UUID: Part = Part::Fixed(16);
const INT32S: Part = Part::Numbers(4);

const fn layout(flexible_since: i16, body: Struct) -> Layout {
    Layout {
        flexible_since,
        body,
    }
}

pub(crate) static PRODUCE: Layout = layout(
    9,
    plain(&[
        since(3, Part::Text),
        always(INT16),
        always(INT32),
        always(Part::Structs(&PRODUCE_TOPIC)),
    ]),
);
static PRODUCE_TOPIC: Struct = plain(&[
    until(12, Part::Text),
    since(13, UUID),
    always(Part::Structs(&PRODUCE_PARTITION)),
]);
static PRODUCE_PARTITION: Struct = plain(&[always(INT32), always(Part::Bytes)]);

pub(crate) static FETCH: Layout = layout(
    12,
    Struct {
        fields: &[
            until(14, INT32),
            always(INT32),
            always(INT32),
            always(INT32),
            always(INT8),
            since(7, INT32),
            since(7, INT32),
            always(Part::Structs(&FETCH_TOPIC)),
            since(7, Part::Structs(&FETCH_FORGOTTEN)),
            since(11, Part::Text),
        ],
        tagged: &[
            Tagged {
                tag: 0,
                since: 12,
                part: Part::Text,
            },
            Tagged {
                tag: 1,
                since: 15,
                part: Part::Struct(&FETCH_REPLICA),
            },
        ],
    },
);
static FETCH_TOPIC: Struct = plain(&[
    until(12, Part::Text),
    since(13, UUID),
    always(Part::Structs(&FETCH_PARTITION)),
]);
static FETCH_PARTITION: Struct = Struct {
    fields: &[
        always(INT32),
        since(9, INT32),
        always(INT64),
        since(12, INT32),
        since(5, INT64),
        always(INT32),
    ],
    tagged: &[
        Tagged {
            tag: 0,
            since: 17,
            part: UUID,
        },
        Tagged {
            tag: 1,
            since: 18,
            part: INT64,
        },
    ],
};
static FETCH_FORGOTTEN: Struct = plain(&[until(12, Part::Text), since(13, UUID), always(INT32S)]);
static FETCH_REPLICA: Struct = plain(&[always(INT32), always(INT64)]);

pub(crate) static LIST_OFFSETS: Layout = layout(
    6,
    plain(&[
        always(INT32),
        since(2, INT8),
        always(Part::Structs(&LIST_OFFSETS_TOPIC)),
        since(10, INT32),
    ]),
);
static LIST_OFFSETS_TOPIC: Struct = plain(&[
    always(Part::Text),
    always(Part::Structs(&LIST_OFFSETS_PARTITION)),
]);
static LIST_OFFSETS_PARTITION: Struct = plain(&[always(INT32), since(4, INT32), always(INT64)]);

pub(crate) static METADATA: Layout = layout(
    9,
    plain(&[
        always(Part::Structs(&METADATA_TOPIC)),
        since(4, BOOL),
        between(8, 10, BOOL),
        since(8, BOOL),
    ]),
);
static METADATA_TOPIC: Struct = plain(&[since(10, UUID), always(Part::Text)]);

pub(crate) static OFFSET_COMMIT: Layout = layout(
    8,
    plain(&[
        always(Part::Text),
        always(INT32),
        always(Part::Text),
        since(7, Part::Text),
        until(4, INT64),
        always(Part::Structs(&OFFSET_COMMIT_TOPIC)),
    ]),
);
static OFFSET_COMMIT_TOPIC: Struct = plain(&[
    always(Part::Text),
    always(Part::Structs(&OFFSET_COMMIT_PARTITION)),
]);
static OFFSET_COMMIT_PARTITION: Struct = plain(&[
    always(INT32),
    always(INT64),
    since(6, INT32),
    always(Part::Text),
]);

pub(crate) static OFFSET_FETCH: Layout = layout(
    6,
    plain(&[
        until(7, Part::Text),
        until(7, Part::Structs(&OFFSET_FETCH_TOPIC)),
        since(8, Part::Structs(&OFFSET_FETCH_GROUP)),
        since(7, BOOL),
    ]),
);
static OFFSET_FETCH_GROUP: Struct = plain(&[
    always(Part::Text),
    since(9, Part::Text),
    since(9, INT32),
    always(Part::Structs(&OFFSET_FETCH_TOPIC)),
]);
static OFFSET_FETCH_TOPIC: Struct = plain(&[always(Part::Text), always(INT32S)]);

pub(crate) static FIND_COORDINATOR: Layout = layout(
    3,
    plain(&[until(3, Part::Text), since(1, INT8), since(4, Part::Texts)]),
);

pub(crate) static JOIN_GROUP: Layout = layout(
    6,
    plain(&[
        always(Part::Text),
        always(INT32),
        since(1, INT32),
        always(Part::Text),
        since(5, Part::Text),
        always(Part::Text),
        always(Part::Structs(&JOIN_GROUP_PROTOCOL)),
        since(8, Part::Text),
    ]),
);
static JOIN_GROUP_PROTOCOL: Struct = plain(&[always(Part::Text), always(Part::Bytes)]);

pub(crate) static HEARTBEAT: Layout = layout(
    4,
    plain(&[
        always(Part::Text),
        always(INT32),
        always(Part::Text),
        since(3, Part::Text),
    ]),
);

pub(crate) static LEAVE_GROUP: Layout = layout(
    4,
    plain(&[
        always(Part::Text),
        until(2, Part::Text),
        since(3, Part::Structs(&LEAVE_GROUP_MEMBER)),
    ]),
);
static LEAVE_GROUP_MEMBER: Struct =
    plain(&[always(Part::Text), always(Part::Text), since(5, Part::Text)]);

pub(crate) static SYNC_GROUP: Layout = layout(
    4,
    plain(&[
        always(Part::Text),
        always(INT32),
        always(Part::Text),
        since(3, Part::Text),
        since(5, Part::Text),
        since(5, Part::Text),
        always(Part::Structs(&SYNC_GROUP_ASSIGNMENT)),
    ]),
);
static SYNC_GROUP_ASSIGNMENT: Struct = plain(&[always(Part::Text), always(Part::Bytes)]);

pub(crate) static API_VERSIONS: Layout =
    layout(3, plain(&[since(3, Part::Text), since(3, Part::Text)]));

pub(crate) static CREATE_TOPICS: Layout = layout(
    5,
    plain(&[
        always(Part::Structs(&CREATE_TOPICS_TOPIC)),
        always(INT32),
        always(BOOL),
    ]),
);
static CREATE_TOPICS_TOPIC: Struct = plain(&[
    always(Part::Text),
    always(INT32),
    always(INT16),
    always(Part::Structs(&CREATE_TOPICS_ASSIGNMENT)),
    always(Part::Structs(&CREATE_TOPICS_CONFIG)),
]);
static CREATE_TOPICS_ASSIGNMENT: Struct = plain(&[always(INT32), always(INT32S)]);
static CREATE_TOPICS_CONFIG: Struct = plain(&[always(Part::Text), always(Part::Text)]);

pub(crate) static DELETE_TOPICS: Layout = layout(
    4,
    plain(&[
        since(6, Part::Structs(&DELETE_TOPICS_TOPIC)),
        until(5, Part::Texts),
        always(INT32),
    ]),
);
static DELETE_TOPICS_TOPIC: Struct = plain(&[always(Part::Text), always(UUID)]);

pub(crate) static INIT_PRODUCER_ID: Layout = layout(
    2,
    plain(&[
        always(Part::Text),
        always(INT32),
        since(3, INT64),
        since(3, INT16),
    ]),
);

pub(crate) static OFFSET_FOR_LEADER_EPOCH: Layout = layout(
    4,
    plain(&[
        since(3, INT32),
        always(Part::Structs(&OFFSET_FOR_LEADER_EPOCH_TOPIC)),
    ]),
);
static OFFSET_FOR_LEADER_EPOCH_TOPIC: Struct = plain(&[
    always(Part::Text),
    always(Part::Structs(&OFFSET_FOR_LEADER_EPOCH_PARTITION)),
]);
static OFFSET_FOR_LEADER_EPOCH_PARTITION: Struct =
    plain(&[always(INT32), always(INT32), always(INT32)]);

pub(crate) static DESCRIBE_CONFIGS: Layout = layout(
    4,
    plain(&[
        always(Part::Structs(&DESCRIBE_CONFIGS_RESOURCE)),
        always(BOOL),
        since(3, BOOL),
    ]),
);
static DESCRIBE_CONFIGS_RESOURCE: Struct =
    plain(&[always(INT8), always(Part::Text), always(Part::Texts)]);

pub(crate) static DESCRIBE_CLUSTER: Layout =
    layout(0, plain(&[always(BOOL), since(1, INT8), since(2, BOOL)]));

pub(crate) static DESCRIBE_GROUPS: Layout =
    layout(5, plain(&[always(Part::Texts), since(3, BOOL)]));

pub(crate) static LIST_GROUPS: Layout =
    layout(3, plain(&[since(4, Part::Texts), since(5, Part::Texts)]));

pub(crate) static DELETE_GROUPS: Layout = layout(2, plain(&[always(Part::Texts)]));

pub(crate) static DELETE_RECORDS: Layout = layout(
    2,
    plain(&[always(Part::Structs(&DELETE_RECORDS_TOPIC)), always(INT32)]),
);
static DELETE_RECORDS_TOPIC: Struct = plain(&[
    always(Part::Text),
    always(Part::Structs(&DELETE_RECORDS_PARTITION)),
]);
static DELETE_RECORDS_PARTITION: Struct = plain(&[always(INT32), always(INT64)]);

pub(crate) static ALTER_CONFIGS: Layout = layout(
    2,
    plain(&[always(Part::Structs(&ALTER_CONFIGS_RESOURCE)), always(BOOL)]),
);
static ALTER_CONFIGS_RESOURCE: Struct = plain(&[
    always(INT8),
    always(Part::Text),
    always(Part::Structs(&ALTER_CONFIGS_CONFIG)),
]);
static ALTER_CONFIGS_CONFIG: Struct = plain(&[always(Part::Text), always(Part::Text)]);

pub(crate) static INCREMENTAL_ALTER_CONFIGS: Layout = layout(
    1,
    plain(&[
        always(Part::Structs(&INCREMENTAL_ALTER_CONFIGS_RESOURCE)),
        always(BOOL),
    ]),
);
static INCREMENTAL_ALTER_CONFIGS_RESOURCE: Struct = plain(&[
    always(INT8),
    always(Part::Text),
    always(Part::Structs(&INCREMENTAL_ALTER_CONFIGS_CONFIG)),
]);
static INCREMENTAL_ALTER_CONFIGS_CONFIG: Struct =
    plain(&[always(Part::Text), always(INT8), always(Part::Text)]);

pub(crate) static CREATE_PARTITIONS: Layout = layout(
    2,
    plain(&[
        always(Part::Structs(&CREATE_PARTITIONS_TOPIC)),
        always(INT32),
        always(BOOL),
    ]),
);
static CREATE_PARTITIONS_TOPIC: Struct = plain(&[
    always(Part::Text),
    always(INT32),
    always(Part::Structs(&CREATE_PARTITIONS_ASSIGNMENT)),
]);
static CREATE_PARTITIONS_ASSIGNMENT: Struct = plain(&[always(INT32S)]);

pub(crate) static OFFSET_DELETE: Layout = layout(
    i16::MAX,
    plain(&[
        always(Part::Text),
        always(Part::Structs(&OFFSET_DELETE_TOPIC)),
    ]),
);
static OFFSET_DELETE_TOPIC: Struct = plain(&[always(Part::Text), always(INT32S)]);

pub(crate) static DESCRIBE_LOG_DIRS: Layout =
    layout(2, plain(&[always(Part::Structs(&DESCRIBE_LOG_DIRS_TOPIC))]));
static DESCRIBE_LOG_DIRS_TOPIC: Struct = plain(&[always(Part::Text), always(INT32S)]);

pub(crate) static ADD_PARTITIONS_TO_TXN: Layout = layout(
    3,
    plain(&[
        always(Part::Text),
        always(INT64),
        always(INT16),
        always(Part::Structs(&ADD_PARTITIONS_TO_TXN_TOPIC)),
    ]),
);
static ADD_PARTITIONS_TO_TXN_TOPIC: Struct = plain(&[always(Part::Text), always(INT32S)]);

pub(crate) static ADD_OFFSETS_TO_TXN: Layout = layout(
    3,
    plain(&[
        always(Part::Text),
        always(INT64),
        always(INT16),
        always(Part::Text),
    ]),
);

pub(crate) static END_TXN: Layout = layout(
    3,
    plain(&[
        always(Part::Text),
        always(INT64),
        always(INT16),
        always(BOOL),
    ]),
);

pub(crate) static TXN_OFFSET_COMMIT: Layout = layout(
    3,
    plain(&[
        always(Part::Text),
        always(Part::Text),
        always(INT64),
        always(INT16),
        since(3, INT32),
        since(3, Part::Text),
        since(3, Part::Text),
        always(Part::Structs(&TXN_OFFSET_COMMIT_TOPIC)),
    ]),
);
static TXN_OFFSET_COMMIT_TOPIC: Struct = plain(&[
    always(Part::Text),
    always(Part::Structs(&TXN_OFFSET_COMMIT_PARTITION)),
]);
static TXN_OFFSET_COMMIT_PARTITION: Struct = plain(&[
    always(INT32),
    always(INT64),
    since(2, INT32),
    always(Part::Text),
]);

pub(crate) static WRITE_TXN_MARKERS: Layout =
    layout(1, plain(&[always(Part::Structs(&WRITE_TXN_MARKER))]));
static WRITE_TXN_MARKER: Struct = plain(&[
    always(INT64),
    always(INT16),
    always(BOOL),
    always(Part::Structs(&WRITE_TXN_MARKER_TOPIC)),
    always(INT32),
]);
static WRITE_TXN_MARKER_TOPIC: Struct = plain(&[always(Part::Text), always(INT32S)]);

pub(crate) static DESCRIBE_PRODUCERS: Layout = layout(
    0,
    plain(&[always(Part::Structs(&DESCRIBE_PRODUCERS_TOPIC))]),
);
static DESCRIBE_PRODUCERS_TOPIC: Struct = plain(&[always(Part::Text), always(INT32S)]);

pub(crate) static DESCRIBE_TRANSACTIONS: Layout = layout(0, plain(&[always(Part::Texts)]));

pub(crate) static LIST_TRANSACTIONS: Layout = layout(
    0,
    plain(&[
        always(Part::Texts),
        always(Part::Numbers(8)),
        since(1, INT64),
    ]),
);
