//! The examples that the guides of S3 and of its policies print, as printed but for names of buckets and accounts.

use serde_json::{Value, json};

use super::{Decision, Facts, Policy, Principal, judge};

const GET: &str = "s3:GetObject";
const PUT: &str = "s3:PutObject";
const LIST: &str = "s3:ListBucket";

/// Asks the policy of bucket `b` on behalf of the owner, who may do all that is not denied.
struct Asks(Policy);

impl Asks {
    fn of(statements: &Value) -> Self {
        let document = json!({"Version": "2012-10-17", "Id": "ExamplePolicy", "Statement": statements});
        Self(Policy::of_bucket("b", &document.to_string()).unwrap())
    }

    fn decision(&self, principal: &Principal, action: &str, key: &str, facts: &[(&str, &str)]) -> Decision {
        let resource = if action == LIST { "arn:aws:s3:::b".to_owned() } else { format!("arn:aws:s3:::b/{key}") };
        judge(Some(&self.0), None, principal, action, &resource, &of(facts))
    }

    #[track_caller]
    fn denied(&self, action: &str, key: &str, facts: &[(&str, &str)]) -> &Self {
        assert_eq!(self.decision(&Principal::Owner, action, key, facts), Decision::Denied, "{facts:?}");
        self
    }

    #[track_caller]
    fn not_denied(&self, action: &str, key: &str, facts: &[(&str, &str)]) -> &Self {
        assert_eq!(self.decision(&Principal::Owner, action, key, facts), Decision::Allowed, "{facts:?}");
        self
    }

    /// Whether who did not sign may.
    #[track_caller]
    fn for_anybody(&self, action: &str, key: &str, facts: &[(&str, &str)], expected: Decision) -> &Self {
        assert_eq!(self.decision(&Principal::Anonymous, action, key, facts), expected, "{facts:?}");
        self
    }
}

fn of(facts: &[(&str, &str)]) -> Facts {
    let mut known = Facts::default();
    for (key, value) in facts {
        known.set(key, *value);
    }
    known
}

fn deny(action: Value, resource: &str, condition: Value) -> Value {
    json!({"Sid": "Example", "Effect": "Deny", "Principal": "*", "Action": action, "Resource": resource,
        "Condition": condition})
}

const SSE: &str = "s3:x-amz-server-side-encryption";
const SSE_KEY: &str = "s3:x-amz-server-side-encryption-aws-kms-key-id";
const SSE_C: &str = "s3:x-amz-server-side-encryption-customer-algorithm";

#[test]
fn uploads_must_ask_for_encryption() {
    let policy = json!([
        {"Sid": "DenyIncorrectEncryptionHeader", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
         "Resource": "arn:aws:s3:::b/*", "Condition": {"StringNotEquals": {SSE: "AES256"}}},
        {"Sid": "DenyUnencryptedObjectUploads", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
         "Resource": "arn:aws:s3:::b/*", "Condition": {"Null": {SSE: "true"}}},
    ]);
    Asks::of(&policy)
        .denied(PUT, "k", &[])
        .denied(PUT, "k", &[(SSE, "aws:kms")])
        .not_denied(PUT, "k", &[(SSE, "AES256")])
        .not_denied(GET, "k", &[]);
}

#[test]
fn uploads_under_a_prefix_must_ask_for_sse_kms() {
    let policy = deny(json!("s3:PutObject"), "arn:aws:s3:::b/secret/*", json!({"StringNotEquals": {SSE: "aws:kms"}}));
    Asks::of(&policy)
        .denied(PUT, "secret/k", &[])
        .denied(PUT, "secret/k", &[(SSE, "AES256")])
        .not_denied(PUT, "secret/k", &[(SSE, "aws:kms")])
        .not_denied(PUT, "secrets", &[]);
}

#[test]
fn uploads_must_name_a_kms_key() {
    let policy = json!([{"Sid": "DenyObjectsThatAreNotSSEKMS", "Effect": "Deny", "Principal": "*",
        "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*", "Condition": {"Null": {SSE_KEY: "true"}}}]);
    Asks::of(&policy).denied(PUT, "k", &[(SSE, "aws:kms")]).not_denied(PUT, "k", &[(SSE, "aws:kms"), (SSE_KEY, "x")]);
}

#[test]
fn uploads_must_be_under_one_key() {
    const KEY: &str = "arn:aws:kms:us-east-1:000000000000:alias/orders";
    let policy = deny(json!("s3:PutObject"), "arn:aws:s3:::b/*", json!({"ArnNotEqualsIfExists": {SSE_KEY: KEY}}));
    Asks::of(&policy)
        .denied(PUT, "k", &[])
        .not_denied(PUT, "k", &[(SSE_KEY, KEY)])
        .denied(PUT, "k", &[(SSE_KEY, "arn:aws:kms:us-east-1:000000000000:alias/other")])
        .denied(PUT, "k", &[(SSE_KEY, "orders")]);
    let policy = deny(
        json!("s3:PutObject"),
        "arn:aws:s3:::b/*",
        json!({"StringNotLike": {SSE_KEY: "arn:aws:kms:us-east-1:000000000000:key/*"}}),
    );
    Asks::of(&policy).denied(PUT, "k", &[]).not_denied(
        PUT,
        "k",
        &[(SSE_KEY, "arn:aws:kms:us-east-1:000000000000:key/0f")],
    );
}

#[test]
fn dual_layer_encryption_is_required() {
    let policy = deny(json!("s3:PutObject"), "arn:aws:s3:::b/*", json!({"StringNotEquals": {SSE: "aws:kms:dsse"}}));
    Asks::of(&policy).denied(PUT, "k", &[(SSE, "aws:kms")]).not_denied(PUT, "k", &[(SSE, "aws:kms:dsse")]);
}

#[test]
fn customer_keys_are_required_or_forbidden() {
    let condition = |absent: &str| json!({"Null": {SSE_C: absent}});
    Asks::of(&deny(json!("s3:PutObject"), "arn:aws:s3:::b/*", condition("true"))).denied(PUT, "k", &[]).not_denied(
        PUT,
        "k",
        &[(SSE_C, "AES256")],
    );
    Asks::of(&deny(json!("s3:PutObject"), "arn:aws:s3:::b/*", condition("false"))).not_denied(PUT, "k", &[]).denied(
        PUT,
        "k",
        &[(SSE_C, "AES256")],
    );
}

#[test]
fn only_tls_and_only_of_a_certain_age() {
    let policy = json!([
        {"Sid": "RestrictToTLSRequestsOnly", "Action": "s3:*", "Effect": "Deny", "Principal": "*",
         "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"], "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Action": "s3:*", "Effect": "Deny", "Principal": {"AWS": "*"},
         "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"], "Condition": {"NumericLessThan": {"s3:TlsVersion": 1.2}}},
    ]);
    const TLS: (&str, &str) = ("aws:SecureTransport", "true");
    Asks::of(&policy)
        .denied(GET, "k", &[("aws:SecureTransport", "false")])
        .denied(LIST, "", &[("aws:SecureTransport", "false")])
        .denied(GET, "k", &[TLS, ("s3:TlsVersion", "1.1")])
        .not_denied(GET, "k", &[TLS, ("s3:TlsVersion", "1.3")])
        .for_anybody(GET, "k", &[TLS, ("s3:TlsVersion", "1.3")], Decision::NotAllowed);
}

#[test]
fn only_from_some_addresses_but_for_one() {
    let policy = json!([
        {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
         "Condition": {"NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8:1234:5678::/64"]}}},
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*",
         "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
                       "NotIpAddress": {"aws:SourceIp": "192.0.2.188/32"}}},
    ]);
    Asks::of(&policy)
        .for_anybody(GET, "k", &[("aws:SourceIp", "192.0.2.9")], Decision::Allowed)
        .for_anybody(GET, "k", &[("aws:SourceIp", "192.0.2.188")], Decision::NotAllowed)
        .for_anybody(GET, "k", &[("aws:SourceIp", "2001:db8:1234:5678::9")], Decision::NotAllowed)
        .denied(GET, "k", &[("aws:SourceIp", "203.0.113.1")])
        .denied(LIST, "", &[("aws:SourceIp", "2001:db8::1")])
        .denied(LIST, "", &[]);
}

#[test]
fn everybody_may_read_what_is_published() {
    let policy = json!([{"Sid": "PublicRead", "Effect": "Allow", "Principal": "*",
        "Action": ["s3:GetObject", "s3:GetObjectVersion"], "Resource": ["arn:aws:s3:::b/public/*"]}]);
    let asks = Asks::of(&policy);
    asks.for_anybody(GET, "public/k", &[], Decision::Allowed)
        .for_anybody(GET, "k", &[], Decision::NotAllowed)
        .for_anybody(PUT, "public/k", &[], Decision::NotAllowed);
    assert!(asks.0.is_public());
}

#[test]
fn a_user_has_a_home_folder() {
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Action": ["s3:ListBucket"], "Effect": "Allow", "Resource": ["arn:aws:s3:::b"],
         "Condition": {"StringLike": {"s3:prefix": ["${aws:username}/*"]}}},
        {"Action": ["s3:GetObject", "s3:PutObject"], "Effect": "Allow",
         "Resource": ["arn:aws:s3:::b/${aws:username}/*"]},
    ]});
    let policy = Policy::of_user(&document.to_string()).unwrap();
    let ann = Principal::User("ann".into());
    let decision = |action: &str, resource: &str, prefix: &str| {
        judge(None, Some(&policy), &ann, action, resource, &of(&[("aws:username", "ann"), ("s3:prefix", prefix)]))
    };
    assert_eq!(decision(PUT, "arn:aws:s3:::b/ann/k", ""), Decision::Allowed);
    assert_eq!(decision(PUT, "arn:aws:s3:::b/bob/k", ""), Decision::NotAllowed);
    assert_eq!(decision(LIST, "arn:aws:s3:::b", "ann/x"), Decision::Allowed);
    assert_eq!(decision(LIST, "arn:aws:s3:::b", "bob/"), Decision::NotAllowed);
}

#[test]
fn an_exception_that_has_no_value_widens_no_allowance() {
    let decision = |effect: &str, facts: &[(&str, &str)]| {
        let document = json!({"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": "s3:GetObject",
            "NotResource": "arn:aws:s3:::b/${aws:PrincipalTag/team}/*"}]});
        let policy = Policy::of_user(&document.to_string()).unwrap();
        let ann = Principal::User("ann".into());
        judge(None, Some(&policy), &ann, GET, "arn:aws:s3:::b/red/k", &of(facts))
    };
    assert_eq!(decision("Allow", &[]), Decision::NotAllowed);
    assert_eq!(decision("Deny", &[]), Decision::Denied);
    assert_eq!(decision("Allow", &[("aws:PrincipalTag/team", "blue")]), Decision::Allowed);
    assert_eq!(decision("Allow", &[("aws:PrincipalTag/team", "red")]), Decision::NotAllowed);
}

#[test]
fn either_policy_allows_and_either_denies() {
    let ann = Principal::User("ann".into());
    let user = |effect: &str| {
        let document = json!({"Statement": {"Effect": effect, "Action": "s3:GetObject", "Resource": "*"}});
        Policy::of_user(&document.to_string()).unwrap()
    };
    let bucket = |effect: &str, principal: &str| {
        Asks::of(&json!([{"Effect": effect, "Principal": {"AWS": principal}, "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::b/*"}]))
        .0
    };
    let ask = |bucket: Option<&Policy>, user: Option<&Policy>| {
        judge(bucket, user, &ann, GET, "arn:aws:s3:::b/k", &Facts::default())
    };
    const ANN: &str = "arn:aws:iam::000000000000:user/ann";
    assert_eq!(ask(None, None), Decision::NotAllowed);
    assert_eq!(ask(None, Some(&user("Allow"))), Decision::Allowed);
    assert_eq!(ask(Some(&bucket("Allow", ANN)), None), Decision::Allowed);
    assert_eq!(ask(Some(&bucket("Deny", ANN)), Some(&user("Allow"))), Decision::Denied);
    assert_eq!(ask(Some(&bucket("Allow", ANN)), Some(&user("Deny"))), Decision::Denied);
    // Who allows the account allows its owner, who has not handed it on here; who denies it, denies all in it.
    assert_eq!(ask(Some(&bucket("Allow", "000000000000")), None), Decision::NotAllowed);
    assert_eq!(ask(Some(&bucket("Deny", "000000000000")), Some(&user("Allow"))), Decision::Denied);
}

#[test]
fn all_but_one_are_denied() {
    let policy = json!([{"Effect": "Deny", "NotPrincipal": {"AWS": [
        "arn:aws:iam::000000000000:user/bob", "arn:aws:iam::000000000000:root"]},
        "Action": "s3:*", "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]}]);
    let asks = Asks::of(&policy);
    for (who, expected) in [
        (Principal::Owner, Decision::Allowed),
        (Principal::User("bob".into()), Decision::NotAllowed),
        (Principal::User("ann".into()), Decision::Denied),
        (Principal::Anonymous, Decision::Denied),
    ] {
        assert_eq!(asks.decision(&who, GET, "k", &[]), expected, "{who:?}");
    }
}

#[test]
fn conditions_over_other_headers_and_parameters() {
    Asks::of(&deny(json!("s3:ListBucket"), "arn:aws:s3:::b", json!({"NumericGreaterThan": {"s3:max-keys": "10"}})))
        .denied(LIST, "", &[("s3:max-keys", "11")])
        .not_denied(LIST, "", &[("s3:max-keys", "10")])
        .not_denied(LIST, "", &[]);
    Asks::of(&deny(json!("s3:*"), "arn:aws:s3:::b/*", json!({"StringNotEquals": {"s3:authType": "REST-HEADER"}})))
        .denied(GET, "k", &[("s3:authType", "REST-QUERY-STRING")])
        .not_denied(GET, "k", &[("s3:authType", "REST-HEADER")]);
    Asks::of(&deny(json!("s3:*"), "arn:aws:s3:::b/*", json!({"NumericGreaterThan": {"s3:signatureAge": "600000"}})))
        .denied(GET, "k", &[("s3:signatureAge", "600001")])
        .not_denied(GET, "k", &[("s3:signatureAge", "3")]);
    Asks::of(&deny(json!("s3:*"), "arn:aws:s3:::b*", json!({"StringNotEquals": {"aws:SourceVpce": "vpce-1a2b3c4d"}})))
        .denied(GET, "k", &[]);
    Asks::of(&deny(json!("s3:*"), "arn:aws:s3:::b/*", json!({"Null": {"aws:MultiFactorAuthAge": true}}))).denied(
        GET,
        "k",
        &[],
    );
    Asks::of(&deny(
        json!("s3:*"),
        "arn:aws:s3:::b/*",
        json!({"StringNotLike": {"aws:Referer": ["http://a.example/*"]}}),
    ))
    .denied(GET, "k", &[])
    .denied(GET, "k", &[("aws:Referer", "http://b.example/")])
    .not_denied(GET, "k", &[("aws:Referer", "http://a.example/x")]);
}

#[test]
fn writes_must_be_conditional_where_they_create_an_object() {
    let policy = deny(
        json!("s3:PutObject"),
        "arn:aws:s3:::b/*",
        json!({"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}),
    );
    const CREATES: (&str, &str) = ("s3:ObjectCreationOperation", "true");
    Asks::of(&policy)
        .denied(PUT, "k", &[CREATES])
        .not_denied(PUT, "k", &[CREATES, ("s3:if-none-match", "*")])
        .not_denied(PUT, "k", &[("s3:ObjectCreationOperation", "false")]);
}

#[test]
fn a_policy_is_public_until_each_allowance_is_bound_to_somebody() {
    let is_public = |principal: Value, condition: Value| {
        Asks::of(&json!([{"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::b/*", "Condition": condition}]))
        .0
        .is_public()
    };
    assert!(is_public(json!("*"), json!({})));
    assert!(is_public(json!({"AWS": "*"}), json!({"StringLike": {"aws:SourceVpc": "vpc-*"}})));
    assert!(is_public(json!("*"), json!({"StringEquals": {"aws:userid": "${aws:username}"}})));
    assert!(is_public(json!("*"), json!({"StringEqualsIfExists": {"aws:SourceVpc": "vpc-91237329"}})));
    assert!(is_public(json!("*"), json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}})));
    assert!(is_public(json!("*"), json!({"Bool": {"aws:SecureTransport": "true"}})));
    assert!(!is_public(json!({"AWS": "arn:aws:iam::000000000000:user/ann"}), json!({})));
    assert!(!is_public(json!("*"), json!({"StringEquals": {"aws:SourceVpc": "vpc-91237329"}})));
    assert!(!is_public(json!("*"), json!({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}})));
    let denial = deny(json!("s3:*"), "arn:aws:s3:::b*", json!({"Bool": {"aws:SecureTransport": "false"}}));
    assert!(!Asks::of(&denial).0.is_public());
}
