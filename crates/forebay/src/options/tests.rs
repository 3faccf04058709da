use super::*;

fn from_line(line: &[&str]) -> Options {
    CommandLine::parse(line.iter().copied()).unwrap().options
}

#[test]
fn the_declaration_is_sound() {
    CommandLine::parser().debug_assert();
}

#[test]
fn serve_may_be_said_or_left_out() {
    let with = from_line(&["forebay", "serve", "--sqs", "off", "--data-dir", "d"]);
    assert_eq!(
        with,
        from_line(&["forebay", "--sqs", "off", "--data-dir", "d"])
    );
    assert_eq!(
        with,
        from_line(&["forebay", "--data-dir", "d", "serve", "--sqs", "off"])
    );
    assert_eq!(with.sqs, Some(ListenAddress::Off));
}

#[test]
fn the_file_knows_every_option_by_the_name_of_its_flag() {
    let line = from_line(&[
        "forebay",
        "--data-dir=d",
        "--sqs=off",
        "--amqp=127.0.0.1:1",
        "--kafka=127.0.0.1:2",
        "--http=[::1]:3",
        "--insecure-bind",
        "--log=debug",
        "--cache=32MiB",
        "--journal-file=8MiB",
        "--journal-retain=2GiB",
        "--min-free=1MB",
        "--segments=s3://bucket/prefix",
        "--definitions=f.json",
        "--sqs-region=eu-west-1",
        "--sqs-account=123456789012",
        "--sqs-max-in-flight=5",
        "--sqs-max-delay=1day",
        "--sqs-max-retention=1year",
        "--sqs-deleted=0s",
        "--sqs-credentials=AKID:secret",
        "--kafka-partitions=3",
        "--kafka-advertise=broker:9092",
    ]);
    let file: Options = toml::from_str(
        r#"
        data-dir = "d"
        sqs = "off"
        amqp = "127.0.0.1:1"
        kafka = "127.0.0.1:2"
        http = "[::1]:3"
        insecure-bind = true
        log = "debug"
        cache = "32MiB"
        journal-file = 8388608
        journal-retain = "2GiB"
        min-free = "1MB"
        segments = "s3://bucket/prefix"
        definitions = "f.json"
        sqs-region = "eu-west-1"
        sqs-account = "123456789012"
        sqs-max-in-flight = 5
        sqs-max-delay = "1day"
        sqs-max-retention = "1year"
        sqs-deleted = "0s"
        sqs-credentials = { AKID = "secret" }
        kafka-partitions = 3
        kafka-advertise = "broker:9092"
        "#,
    )
    .unwrap();
    assert_eq!(line, file);
    // Whoever adds an option meets this line: the two lists above must have it too.
    let declared = CommandLine::parser().get_arguments().count();
    assert_eq!(declared, 23, "22 options and --config");
}

#[test]
fn what_is_said_beats_the_file_and_the_file_fills_the_rest() {
    let line = from_line(&["forebay", "--sqs=off"]);
    let file: Options = toml::from_str("sqs = \"127.0.0.1:1\"\namqp = \"off\"").unwrap();
    let both = line.or(file);
    assert_eq!(both.sqs, Some(ListenAddress::Off));
    assert_eq!(both.amqp, Some(ListenAddress::Off));
    assert_eq!(both.kafka, None);
}

#[test]
fn a_misspelt_name_in_the_file_is_an_error_that_shows_the_line() {
    let error = toml::from_str::<Options>("data_dir = \"d\"")
        .unwrap_err()
        .to_string();
    assert!(error.contains("data_dir"), "{error}");
    assert!(error.contains("data-dir"), "{error}");
}
