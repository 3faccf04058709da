//! Prometheus' text format with RabbitMQ's names, where the meaning is the same
//! (<https://www.rabbitmq.com/docs/prometheus>).

use std::fmt::Write;

use forebay_access::place_of;
use forebay_base::TopicId;
use forebay_broker::{Pressure, TopicStats, TopicWork};

use crate::desk::Desk;
use crate::overview::{NODE, RABBITMQ_VERSION};
use crate::rates::measure;

/// What is told of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All together.
    Sums,
    /// Each with its name.
    Each,
}

/// The page. Of a broker that stops it is what can still be told.
pub(crate) async fn page(desk: &Desk, detail: Detail) -> String {
    let topics = desk.broker.directory().topics("", None, usize::MAX);
    let ids: Vec<TopicId> = topics.iter().map(|topic| topic.id).collect();
    let measured = measure(&desk.broker, &ids).await.unwrap_or_default();
    let mut queues = Vec::new();
    let (mut sum, mut work) = (TopicStats::default(), TopicWork::default());
    for topic in &topics {
        let Some((stats, own)) = measured.get(&topic.id) else {
            continue;
        };
        sum.ready += stats.ready + stats.delayed;
        sum.leased += stats.leased;
        sum.consumers = sum.consumers.saturating_add(stats.consumers);
        work += *own;
        if detail == Detail::Each {
            let (vhost, name) = place_of(&topic.name);
            let labels = format!("vhost=\"{}\",queue=\"{}\"", escaped(&vhost), escaped(name));
            queues.push((labels, *stats, *own));
        }
    }
    if detail == Detail::Sums {
        queues.push((String::new(), sum, work));
    }
    let mut text = String::new();
    put_queues(&mut text, &queues);
    put_whole(&mut text, desk, topics.len(), (sum, work)).await;
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn put(text: &mut String, kind: &str, name: &str, help: &str, values: &[(String, u64)]) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "# HELP rabbitmq_{name} {help}\n# TYPE rabbitmq_{name} {kind}"
    );
    for (labels, value) in values {
        let _ = match labels.as_str() {
            "" => writeln!(text, "rabbitmq_{name} {value}"),
            labels => writeln!(text, "rabbitmq_{name}{{{labels}}} {value}"),
        };
    }
}

type Queue = (String, TopicStats, TopicWork);

fn put_queues(text: &mut String, queues: &[Queue]) {
    let mut each = |kind: &str, name: &str, help: &str, value: &dyn Fn(&Queue) -> u64| {
        let values: Vec<_> = queues
            .iter()
            .map(|queue| (queue.0.clone(), value(queue)))
            .collect();
        put(text, kind, name, help, &values);
    };
    each(
        "gauge",
        "queue_messages_ready",
        "Messages ready.",
        &|queue| queue.1.ready + queue.1.delayed,
    );
    each(
        "gauge",
        "queue_messages_unacked",
        "Messages handed out and not settled.",
        &|queue| queue.1.leased,
    );
    each("gauge", "queue_messages", "Both together.", &|queue| {
        queue.1.ready + queue.1.delayed + queue.1.leased
    });
    each("gauge", "queue_consumers", "Consumers.", &|queue| {
        u64::from(queue.1.consumers)
    });
    each(
        "counter",
        "queue_messages_published_total",
        "Messages that came.",
        &|queue| queue.2.appended,
    );
    each(
        "counter",
        "queue_messages_delivered_total",
        "Messages handed out, settled by that.",
        &|queue| queue.2.handed_settled,
    );
    each(
        "counter",
        "queue_messages_delivered_ack_total",
        "Messages handed out, to be settled.",
        &|queue| queue.2.handed_out.saturating_sub(queue.2.handed_settled),
    );
    each(
        "counter",
        "queue_messages_acked_total",
        "Messages settled.",
        &|queue| queue.2.settled,
    );
    each(
        "counter",
        "queue_messages_redelivered_total",
        "Messages handed out, not for the first time.",
        &|queue| queue.2.redelivered,
    );
}

async fn put_whole(
    text: &mut String,
    desk: &Desk,
    queues: usize,
    (sum, work): (TopicStats, TopicWork),
) {
    let reports = desk.server.roster().reports().await;
    let channels: usize = reports.iter().map(|report| report.channels.len()).sum();
    let (opened, closed) = desk.server.roster().counts();
    let counters = desk.broker.counters();
    let full = !matches!(&*desk.broker.pressure().borrow(), Pressure::None);
    let build = format!(
        "rabbitmq_version=\"{RABBITMQ_VERSION}\",product_name=\"Forebay\",product_version=\"{}\"",
        escaped(&desk.options.version)
    );
    let identity = format!("rabbitmq_node=\"{NODE}\",rabbitmq_cluster=\"forebay\"");
    put(text, "untyped", "build_info", "The program.", &[(build, 1)]);
    put(
        text,
        "untyped",
        "identity_info",
        "This broker.",
        &[(identity, 1)],
    );
    let gauges: [(&str, &str, u64); 6] = [
        (
            "connections",
            "Connections that are open.",
            reports.len() as u64,
        ),
        ("channels", "Channels that are open.", channels as u64),
        ("consumers", "Consumers.", u64::from(sum.consumers)),
        ("queues", "Queues there are.", queues as u64),
        (
            "alarms_free_disk_space_watermark",
            "1 while the disk is too full to publish.",
            u64::from(full),
        ),
        (
            "alarms_memory_used_watermark",
            "1 while memory is short, which never stops a publisher here.",
            0,
        ),
    ];
    for (name, help, value) in gauges {
        put(text, "gauge", name, help, &[(String::new(), value)]);
    }
    let totals: [(&str, &str, u64); 6] = [
        ("connections_opened_total", "Connections opened.", opened),
        ("connections_closed_total", "Connections closed.", closed),
        (
            "global_messages_received_total",
            "Messages taken in, by all protocols.",
            counters.records_in,
        ),
        (
            "global_messages_routed_total",
            "Messages put into queues.",
            work.appended,
        ),
        (
            "global_messages_delivered_total",
            "Messages handed out.",
            counters.records_out,
        ),
        (
            "global_messages_acknowledged_total",
            "Messages settled.",
            counters.settled,
        ),
    ];
    for (name, help, value) in totals {
        put(text, "counter", name, help, &[(String::new(), value)]);
    }
    put(
        text,
        "counter",
        "global_messages_redelivered_total",
        "Messages handed out, not for the first time.",
        &[(String::new(), counters.redelivered)],
    );
}
