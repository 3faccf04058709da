//! Against the signatures that AWS's own signer makes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials as Keys;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use hyper::Request;

use super::*;

const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW: Timestamp = Timestamp(1_440_938_160_000);
const BODY: &[u8] = b"Action=ListQueues";

fn known() -> Credentials {
    [(KEY.to_owned(), SECRET.to_owned())].into_iter().collect()
}

/// A request as AWS's signer leaves it.
struct Signed {
    method: &'static str,
    uri: &'static str,
    body: &'static [u8],
    secret: &'static str,
    service: &'static str,
    at: Timestamp,
    expires: Option<Duration>,
}

impl Default for Signed {
    fn default() -> Self {
        Self {
            method: "POST",
            uri: "http://localhost:9324/",
            body: BODY,
            secret: SECRET,
            service: SERVICE,
            at: NOW,
            expires: None,
        }
    }
}

impl Signed {
    fn request(&self) -> Parts {
        let identity = Keys::new(KEY, self.secret, Some("token".to_owned()), None, "test").into();
        let mut settings = SigningSettings::default();
        if self.expires.is_some() {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = self.expires;
        }
        let time: SystemTime = UNIX_EPOCH + Duration::from_millis(self.at.0.try_into().unwrap());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name(self.service)
            .time(time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let headers = [
            ("host", "localhost:9324"),
            ("content-type", "application/x-amz-json-1.0"),
            ("x-amz-target", "AmazonSQS.ListQueues  a"),
        ];
        let body = SignableBody::Bytes(self.body);
        let signable =
            SignableRequest::new(self.method, self.uri, headers.into_iter(), body).unwrap();
        let mut request = Request::builder().method(self.method).uri(self.uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut request = request.body(()).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        instructions.apply_to_request_http1x(&mut request);
        request.into_parts().0
    }

    fn judged(&self) -> Result<(), Fault> {
        judge(&self.request(), self.body, &known(), NOW)
    }
}

fn text(judged: Result<(), Fault>) -> String {
    judged.unwrap_err().message().into_owned()
}

#[test]
fn what_the_signer_of_aws_signs_is_let_in() {
    assert_eq!(Signed::default().judged(), Ok(()));
    for uri in [
        "http://localhost:9324/000000000000/q",
        "http://localhost:9324/0/a%20b?Action=GetQueueUrl&QueueName=a%2Fb%20c&Version=2012-11-05",
        "http://localhost:9324/?b=2&a=1&a=0&empty=",
    ] {
        for expires in [None, Some(Duration::from_secs(60))] {
            let signed = Signed {
                method: "GET",
                uri,
                body: b"",
                expires,
                ..Signed::default()
            };
            assert_eq!(signed.judged(), Ok(()), "{uri} {expires:?}");
        }
    }
}

#[test]
fn whoever_has_another_secret_or_changes_something_is_refused() {
    const REFUSED: &str = "The request signature we calculated does not match";
    let forged = Signed {
        secret: "other",
        ..Signed::default()
    };
    assert!(text(forged.judged()).starts_with(REFUSED));
    let head = Signed::default().request();
    assert!(text(judge(&head, b"Action=Other", &known(), NOW)).starts_with(REFUSED));
    let mut head = Signed::default().request();
    let target = hyper::header::HeaderValue::from_static("AmazonSQS.PurgeQueue");
    head.headers.insert("x-amz-target", target);
    assert!(text(judge(&head, BODY, &known(), NOW)).starts_with(REFUSED));
}

#[test]
fn who_is_unknown_or_says_nothing_is_refused_when_credentials_are_named() {
    let others: Credentials = [("OTHER".to_owned(), SECRET.to_owned())]
        .into_iter()
        .collect();
    let head = Signed::default().request();
    assert_eq!(
        judge(&head, BODY, &others, NOW),
        Err(Fault::InvalidClientTokenId)
    );
    let plain = Request::builder().uri("/").body(()).unwrap().into_parts().0;
    let nobody = Credentials::default();
    assert_eq!(
        judge(&plain, b"", &known(), NOW),
        Err(Fault::MissingAuthenticationToken)
    );
    assert_eq!(judge(&plain, b"", &nobody, NOW), Ok(()));
    assert_eq!(judge(&head, b"anything", &nobody, Timestamp(0)), Ok(()));
}

#[test]
fn a_signature_has_its_time() {
    let at = |minutes: i64, expires| Signed {
        at: Timestamp(NOW.0 + minutes * 60_000),
        expires,
        ..Signed::default()
    };
    assert_eq!(at(-15, None).judged(), Ok(()));
    assert_eq!(at(5, None).judged(), Ok(()));
    assert_eq!(
        text(at(-16, None).judged()),
        "Signature expired: 20150830T122000Z is now earlier than 20150830T122100Z (20150830T123600Z - 15 min.)"
    );
    assert_eq!(
        text(at(6, None).judged()),
        "Signature not yet current: 20150830T124200Z is still later than 20150830T124100Z (20150830T123600Z + 5 min.)"
    );
    let hour = Some(Duration::from_secs(3_600));
    assert_eq!(at(-60, hour).judged(), Ok(()));
    assert!(text(at(-61, hour).judged()).starts_with("Signature expired: "));
}

#[test]
fn a_signature_for_another_service_is_refused() {
    let signed = Signed {
        service: "sns",
        ..Signed::default()
    };
    assert_eq!(
        text(signed.judged()),
        "Credential should be scoped to correct service: 'sqs'. "
    );
}

#[test]
fn what_is_no_signature_by_form_is_refused_in_the_words_of_aws() {
    let with = |authorization: &str, date: &str| {
        let request = Request::builder()
            .uri("/")
            .header("authorization", authorization);
        let request = match date {
            "" => request,
            date => request.header("x-amz-date", date),
        };
        let head = request.body(()).unwrap().into_parts().0;
        judge(&head, b"", &Credentials::default(), NOW)
    };
    let good = "AWS4-HMAC-SHA256 Credential=a/20150830/r/sqs/aws4_request, SignedHeaders=host, Signature=00";
    assert_eq!(with(good, "20150830T123600Z"), Ok(()));
    for (authorization, date, expected) in [
        (
            "Bearer abc",
            "20150830T123600Z",
            "'abc' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer abc'.",
        ),
        (
            "AWS4-HMAC-SHA256",
            "",
            "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00",
            "20150830T123600Z",
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b'",
        ),
        (
            good,
            "yesterday",
            "Date must be in ISO-8601 'basic format'. Got 'yesterday'. See http://en.wikipedia.org/wiki/ISO_8601",
        ),
    ] {
        let refused = with(authorization, date);
        assert!(matches!(refused, Err(Fault::IncompleteSignature(_))));
        assert_eq!(text(refused), expected);
    }
    let presigned = |query: &str| {
        let uri = format!("/?{query}");
        let head = Request::builder().uri(uri).body(()).unwrap().into_parts().0;
        judge(&head, b"", &Credentials::default(), NOW)
    };
    assert_eq!(
        text(presigned("X-Amz-Algorithm=AWS4-HMAC-SHA256")),
        "AWS query-string parameters must include 'X-Amz-Credential'. Re-examine the query-string parameters."
    );
    assert_eq!(presigned("Action=ListQueues&Note=X-Amz-Date"), Ok(()));
}
