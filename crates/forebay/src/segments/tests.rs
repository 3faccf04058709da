use super::store::open;
use super::*;

fn place(text: &str) -> Result<Place, String> {
    text.parse().map_err(|error: NoPlace| error.to_string())
}

fn bucket(text: &str) -> Bucket {
    match place(text).unwrap() {
        Place::Bucket(bucket) => bucket,
        other => panic!("{other:?}"),
    }
}

fn s3(text: &str) -> S3 {
    toml::from_str(text).unwrap()
}

#[test]
fn a_place_is_a_directory_or_a_buckets_url() {
    assert_eq!(
        place("/mnt/old").unwrap(),
        Place::Directory("/mnt/old".into())
    );
    let found = bucket("s3://my.bucket/a/b/");
    assert_eq!(
        (found.provider, &*found.name, &*found.prefix),
        (Provider::S3, "my.bucket", "a/b")
    );
    assert_eq!(bucket("gs://b").prefix, "");
    assert_eq!(bucket("az://b/p").provider, Provider::Azure);
    for wrong in [
        "",
        "s3://",
        "s3:///p",
        "http://x/y",
        "s3://b/p?q",
        "s3://u:p@b/p",
    ] {
        let refused = place(wrong).unwrap_err();
        assert!(refused.contains("s3://BUCKET/PREFIX"), "{refused}");
    }
}

#[test]
fn the_environment_beats_the_file_and_the_particular_endpoint_the_general_one() {
    let file = s3("endpoint = \"https://file\"\nregion = \"r\"");
    let at = |environment: &[(&str, &str)]| {
        let environment: Vec<_> = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        open(&bucket("s3://b/p"), &file, &environment).unwrap()
    };
    assert_eq!(at(&[]).endpoint.as_deref(), Some("https://file"));
    assert!(!at(&[]).has_credentials);
    let general = ("AWS_ENDPOINT_URL", "https://general");
    assert_eq!(at(&[general]).endpoint.as_deref(), Some("https://general"));
    let both = at(&[("AWS_ENDPOINT_URL_S3", "https://s3"), general]);
    assert_eq!(both.endpoint.as_deref(), Some("https://s3"));
    let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
    assert!(at(&keys).has_credentials);
}

#[test]
fn an_endpoint_without_tls_must_be_asked_for_unless_it_is_this_machine() {
    let at = |text: &str| open(&bucket("s3://b/p"), &s3(text), &[]).map(|_| ());
    at("endpoint = \"http://127.0.0.1:9000\"").unwrap();
    at("endpoint = \"http://localhost:9000\"").unwrap();
    at("endpoint = \"https://example.org\"").unwrap();
    at("endpoint = \"http://example.org\"\nallow-http = true").unwrap();
    let refused = at("endpoint = \"http://example.org\"").unwrap_err();
    assert!(refused.contains("AWS_ALLOW_HTTP=true"), "{refused}");
    let refused = at("endpoint = \"example.org:9000\"").unwrap_err();
    assert!(refused.contains("is not a URL"), "{refused}");
}

#[test]
fn secrets_do_not_show() {
    let shown = format!(
        "{:?}",
        s3("secret-access-key = \"hush\"\nsession-token = \"psst\"")
    );
    assert!(
        !shown.contains("hush") && !shown.contains("psst"),
        "{shown}"
    );
}
