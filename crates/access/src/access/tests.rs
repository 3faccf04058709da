use serde_json::json;

use super::*;

fn with(changes: Vec<SettingChange>) -> Access {
    let mut settings = Settings::new();
    for change in Access::beginning().into_iter().chain(changes) {
        match change {
            SettingChange::Put(key, value) => settings.insert(key, value),
            SettingChange::Remove(key) => settings.remove(&key),
        };
    }
    Access::of(&settings)
}

#[test]
fn before_anything_is_set_guest_comes_from_the_same_machine_and_may_everything() {
    let access = Access::of(&Settings::new());
    assert_eq!(access.log_in("guest", b"guest", true), Ok(()));
    let elsewhere = access.log_in("guest", b"guest", false);
    assert_eq!(elsewhere, Err(LoginRefused::NotLoopback));
    let wrong = access.log_in("guest", b"guess", true);
    assert_eq!(wrong, Err(LoginRefused::Credentials));
    assert!(access.allows_everything("/", "guest"));
    assert!(!access.may_enter("other", "guest"));
    assert!(!access.before_first_change().is_empty());
}

#[test]
fn guest_who_was_removed_stays_away() {
    let access = with(Vec::new());
    let access = with(access.remove_user("guest"));
    assert!(access.users().is_empty() && access.before_first_change().is_empty());
    assert!(!access.may_enter("/", "guest"));
}

#[test]
fn permissions_are_patterns_over_names() {
    let permission = Permission {
        configure: "^own-".into(),
        write: "".into(),
        read: ".*".into(),
    };
    let access = with(vec![
        Access::put_user("u", &User::new("p", &[])),
        Access::put_permission("/", "u", &permission),
    ]);
    let may = |right, name| access.allows("/", "u", right, name);
    assert!(may(Right::Configure, "own-q") && !may(Right::Configure, "q"));
    assert!(!may(Right::Write, "q") && may(Right::Read, "q"));
    assert!(!access.allows_everything("/", "u"));
    assert!(access.log_in("u", b"p", false).is_ok());
}

#[test]
fn topic_permissions_narrow_the_exchange_they_name() {
    let list = [TopicPermission {
        exchange: "amq.topic".into(),
        write: "^{username}-.*".into(),
        read: "^x".into(),
    }];
    let access = with(vec![Access::put_topic_permissions("/", "guest", &list)]);
    let may = |right, exchange, key| access.allows_topic(("/", "guest"), right, exchange, key);
    assert!(may(Right::Write, "amq.topic", "guest-1"));
    assert!(!may(Right::Write, "amq.topic", "other-1"));
    assert!(!may(Right::Read, "amq.topic", "y") && may(Right::Read, "amq.topic", "x.y"));
    assert!(may(Right::Write, "elsewhere", "other-1"));
    assert!(!access.allows_everything("/", "guest"));
}

fn policy(pattern: &str, apply_to: ApplyTo, priority: i64, definition: Value) -> Policy {
    Policy {
        pattern: pattern.into(),
        apply_to,
        definition: serde_json::from_value(definition).unwrap(),
        priority,
    }
}

use crate::ApplyTo;

#[test]
fn of_policies_that_match_the_highest_priority_counts_and_the_operator_limits_it() {
    let user = |name, policy: Policy| Access::put_policy(PolicyKind::User, "/", name, &policy);
    let low = policy(".*", ApplyTo::All, 0, json!({"message-ttl": 1}));
    let high = policy(
        "^q",
        ApplyTo::Queues,
        5,
        json!({"max-length": 10, "expires": 7}),
    );
    let operator = policy(
        ".*",
        ApplyTo::Queues,
        0,
        json!({"max-length": 5, "expires": 9}),
    );
    let access = with(vec![
        user("low", low),
        user("high", high),
        Access::put_policy(PolicyKind::Operator, "/", "op", &operator),
    ]);
    let found = access.effective("/", "q1", Subject::ClassicQueue);
    assert_eq!(found.policy.as_deref(), Some("high"));
    assert_eq!(found.operator_policy.as_deref(), Some("op"));
    assert_eq!(found.definition["max-length"], 5);
    assert_eq!(found.definition["expires"], 7);
    assert!(!found.definition.contains_key("message-ttl"));
    let exchange = access.effective("/", "q1", Subject::Exchange);
    assert_eq!(exchange.policy.as_deref(), Some("low"));
    assert_eq!(
        access.effective("v", "q1", Subject::Stream),
        Effective::default()
    );
}

#[test]
fn a_virtual_host_goes_with_all_that_is_set_for_it() {
    let all = vec![
        Access::put_vhost("v", &Vhost::default()),
        Access::put_permission("v", "guest", &Permission::everything()),
        Access::put_policy(
            PolicyKind::User,
            "v",
            "p",
            &policy(".*", ApplyTo::All, 0, json!({"expires": 1})),
        ),
        Access::put_vhost_limits(
            "v",
            &VhostLimits {
                max_queues: Some(3),
                max_connections: Some(-1),
            },
        ),
        Access::put_parameter(&Parameter {
            component: "federation-upstream".into(),
            vhost: "v".into(),
            name: "up".into(),
            value: json!({"uri": "x"}),
        }),
    ];
    let access = with(all.clone());
    assert_eq!(access.max_queues("v"), Some(3));
    assert_eq!(access.max_connections("v"), None);
    let gone = access.remove_vhost("v");
    let access = with(all.into_iter().chain(gone).collect());
    assert_eq!(access.vhosts().keys().collect::<Vec<_>>(), ["/"]);
    assert!(!access.may_enter("v", "guest") && access.parameters().is_empty());
    assert_eq!(access.policies(PolicyKind::User).count(), 0);
    assert_eq!(access.max_queues("v"), None);
}
