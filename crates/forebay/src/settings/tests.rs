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
