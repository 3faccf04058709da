//! DescribeLogDirs (key 35), versions 1-4: what the partitions take on the disk.
//!
//! There is one directory, called `data` here wherever it lies. The size of a partition is that of its
//! batches, in the journal and in segments, as exact as the index. How large the disk is is not
//! told (-1).

use forebay_broker::TopicInfo;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::connection::Context;
use crate::topic;

/// A size that is not told.
const UNKNOWN: i64 = -1;

pub(super) fn answer(
    context: &Context,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let topics = match request.topics {
        None => {
            let all = context.broker.directory().topics("", None, usize::MAX);
            let seen = all.iter().filter(|topic| topic::visible(topic));
            seen.map(|topic| describe(context, topic, |_| true))
                .collect()
        }
        Some(asked) => asked
            .into_iter()
            .filter_map(|asked| {
                let topic = topic::by_name(&context.broker, &asked.topic)?;
                let wanted = |index| asked.partitions.contains(&index);
                Some(describe(context, &topic, wanted))
            })
            .collect(),
    };
    let result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_static_str("data"))
        .with_topics(topics)
        .with_total_bytes(UNKNOWN)
        .with_usable_bytes(UNKNOWN);
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn describe(
    context: &Context,
    topic: &TopicInfo,
    wanted: impl Fn(i32) -> bool,
) -> DescribeLogDirsTopic {
    let partitions = (0..).zip(&topic.partitions);
    let partitions = partitions.filter(|(index, _)| wanted(*index));
    let partitions = partitions.map(|(index, id)| {
        let size = context.broker.bytes(*id);
        DescribeLogDirsPartition::default()
            .with_partition_index(index)
            .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX))
    });
    DescribeLogDirsTopic::default()
        .with_partitions(partitions.collect())
        .with_name(topic::name_of(topic))
}
