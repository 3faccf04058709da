use super::*;

fn settings(text: &str) -> Result<Settings, String> {
    let options = toml::from_str(text).unwrap();
    Settings::new(options).map_err(|failure| failure.to_string())
}

#[test]
fn by_default_everything_listens_on_loopback_at_the_protocols_own_ports() {
    let settings = settings("").unwrap();
    let at = settings.listeners().map(|(_, address)| address.to_string());
    assert_eq!(
        at,
        [
            "127.0.0.1:9324",
            "127.0.0.1:5672",
            "127.0.0.1:9092",
            "127.0.0.1:15672"
        ]
    );
}

#[test]
fn another_address_than_loopback_must_be_asked_for_in_words() {
    let refused = settings("kafka = \"0.0.0.0:9092\"").unwrap_err();
    assert!(
        refused.starts_with("--kafka 0.0.0.0:9092 is not a loopback address"),
        "{refused}"
    );
    assert!(refused.ends_with("say --insecure-bind"), "{refused}");
    settings("kafka = \"0.0.0.0:9092\"\ninsecure-bind = true").unwrap();
    settings("kafka = \"127.8.8.8:9092\"\nsqs = \"[::1]:1\"").unwrap();
}

#[test]
fn sizes_and_counts_have_bounds() {
    let small = settings("journal-file = \"1MiB\"").unwrap_err();
    assert_eq!(
        small,
        "--journal-file 1.0 MiB is out of range: it can be 4.0 MiB to 1.0 GiB"
    );
    assert!(settings("kafka-partitions = 0").is_err());
}

#[test]
fn the_advertised_address_is_a_host_and_a_port() {
    let advertised = |text: &str| {
        settings(&format!("kafka-advertise = \"{text}\"")).map(|settings| settings.kafka_advertise)
    };
    assert_eq!(
        advertised("broker:9092").unwrap(),
        Some(("broker".to_owned(), 9092))
    );
    assert_eq!(
        advertised("[::1]:9092").unwrap(),
        Some(("::1".to_owned(), 9092))
    );
    for wrong in ["broker", ":9092", "broker:", "::1:x", "broker:99999"] {
        assert!(advertised(wrong).is_err(), "{wrong:?} was taken");
    }
}

#[test]
fn what_is_said_about_sqs_goes_to_its_front_end() {
    let given = settings(
        "sqs-region = \"eu-west-1\"\nsqs-account = \"123456789012\"\nsqs-max-in-flight = 0\n\
         sqs-max-delay = \"30days\"\nsqs-deleted = \"0s\"\n[sqs-credentials]\nAKID = \"secret\"",
    );
    let options = given.unwrap().sqs_options;
    assert_eq!(options.region, "eu-west-1");
    assert_eq!(options.account_id, "123456789012");
    assert_eq!(options.max_in_flight, None);
    assert_eq!(options.max_delay_seconds, 2_592_000);
    assert_eq!(options.max_retention_seconds, 1_209_600);
    assert_eq!(options.deleted_seconds, 0);
    assert!(!options.credentials.is_empty());
    assert_eq!(
        settings("").unwrap().sqs_options,
        forebay_sqs::Options::default()
    );
    for wrong in [
        "sqs-account = \"12\"",
        "sqs-region = \"eu:west\"",
        "sqs-max-delay = \"1min\"",
        "sqs-max-retention = \"200years\"",
    ] {
        assert!(settings(wrong).is_err(), "{wrong} was taken");
    }
}
