//! Documents that are no policies: each is one that would do, but for one thing.

use serde_json::{Value, json};

use super::super::DOCUMENT_LEN_MAX;
use super::Policy;

fn statement() -> Value {
    json!({"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"})
}

fn with(element: &str, value: Value) -> Value {
    let mut statement = statement();
    statement[element] = value;
    statement
}

fn without(element: &str) -> Value {
    let mut statement = statement();
    statement.as_object_mut().unwrap().remove(element);
    statement
}

fn put(statements: Value) -> Result<Policy, String> {
    let document = json!({"Version": "2012-10-17", "Statement": statements});
    Policy::of_bucket("b", &document.to_string()).map_err(|error| error.to_string())
}

#[track_caller]
fn check_refused(statement: Value, place: &str) {
    let error = put(json!([statement])).expect_err("it was taken");
    assert!(error.starts_with(place), "{error}");
}

#[test]
fn what_would_do_is_taken() {
    put(json!([statement()])).unwrap();
    put(statement()).unwrap();
    let bare = json!({"Statement": statement(), "Id": "x"});
    Policy::of_bucket("b", &bare.to_string()).unwrap();
}

#[test]
fn a_statement_that_lacks_something_or_has_too_much_is_refused() {
    check_refused(without("Effect"), "Statement[0].Effect");
    check_refused(without("Action"), "Statement[0]: Action or NotAction is missing");
    check_refused(without("Resource"), "Statement[0]: Resource or NotResource");
    check_refused(without("Principal"), "Statement[0]: Principal or NotPrincipal");
    check_refused(with("NotAction", json!("s3:*")), "Statement[0]: Action and NotAction");
    check_refused(with("NotResource", json!("arn:aws:s3:::b")), "Statement[0]: Resource and NotResource");
    check_refused(with("NotPrincipal", json!("*")), "Statement[0]: Principal and NotPrincipal");
    check_refused(with("Conditions", json!({})), "Statement[0].Conditions");
    check_refused(with("effect", json!("Deny")), "Statement[0].effect");
    check_refused(with("Sid", json!(1)), "Statement[0].Sid");
}

#[test]
fn an_effect_is_allow_or_deny_to_the_letter() {
    for effect in [json!("allow"), json!("DENY"), json!(""), json!(["Deny"]), json!(null)] {
        check_refused(with("Effect", effect), "Statement[0].Effect");
    }
}

#[test]
fn actions_are_those_of_s3_and_apply_to_a_resource_beside_them() {
    for action in [json!("s3:GetObjekt"), json!("ec2:*"), json!(""), json!([]), json!("s3:"), json!({}), json!("s3:Q*")]
    {
        check_refused(with("Action", action), "Statement[0].Action");
    }
    check_refused(
        with("Action", json!(["s3:GetObject", "s3:ListBucket"])),
        "Statement[0].Action: the action \"s3:List",
    );
    check_refused(with("Resource", json!("arn:aws:s3:::b")), "Statement[0].Action");
    put(json!([with("Action", json!(["S3:getOBJECT", "s3:*", "*", "s3:Get*"]))])).unwrap();
}

#[test]
fn resources_are_those_of_the_bucket() {
    for resource in
        ["*", "arn:aws:s3:::*", "arn:aws:s3:::c/*", "arn:aws:s3:::bc/*", "b/*", "arn:aws:s3:b/*", "", "arn:aws:s3:::"]
    {
        check_refused(with("Resource", json!(resource)), "Statement[0].Resource");
    }
    check_refused(with("Resource", json!(["arn:aws:s3:::b/*", "arn:aws:s3:::c/*"])), "Statement[0].Resource");
    check_refused(with("Resource", json!("arn:${aws:username}:s3:::b/*")), "Statement[0].Resource");
    check_refused(with("Resource", json!("arn:aws:s3:::b/${aws:username")), "Statement[0].Resource");
    check_refused(with("Resource", json!([])), "Statement[0].Resource");
}

#[test]
fn principals_are_whole_names() {
    for principal in [
        json!("ann"),
        json!({}),
        json!(["*"]),
        json!({"AWS": []}),
        json!({"AWS": "ann"}),
        json!({"AWS": "arn:aws:iam::000000000000:user/*"}),
        json!({"AWS": "arn:aws:iam::000000000000:user/${aws:username}"}),
        json!({"AWS": "arn:aws:iam::1:root"}),
        json!({"AWS": "arn:aws:s3:::b"}),
        json!({"Everybody": "*"}),
        json!({"CanonicalUser": "x"}),
    ] {
        check_refused(with("Principal", principal), "Statement[0].Principal");
    }
    for principal in [
        json!({"AWS": ["*", "111122223333", "arn:aws:iam::111122223333:root", "arn:aws:iam::111122223333:role/r/s"]}),
        json!({"Service": "logging.s3.amazonaws.com", "Federated": "cognito-identity.amazonaws.com"}),
        json!({"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"}),
    ] {
        put(json!([with("Principal", principal)])).unwrap();
    }
}

#[test]
fn an_allowance_to_all_but_some_is_refused() {
    let mut statement = without("Principal");
    statement["NotPrincipal"] = json!({"AWS": "arn:aws:iam::000000000000:user/ann"});
    put(json!([statement])).unwrap();
    statement["Effect"] = json!("Allow");
    check_refused(statement, "Statement[0].NotPrincipal");
}

#[test]
fn conditions_have_operators_keys_and_values_that_there_are() {
    for (condition, place) in [
        (json!({"StringIs": {"s3:prefix": "a"}}), "Statement[0].Condition.StringIs"),
        (json!({"stringequals": {"s3:prefix": "a"}}), "Statement[0].Condition.stringequals"),
        (json!({"ForSomeValues:StringEquals": {"s3:prefix": "a"}}), "Statement[0].Condition.ForSome"),
        (json!({"NullIfExists": {"s3:prefix": "true"}}), "Statement[0].Condition.NullIfExists"),
        (json!({"StringEquals": {"s3:prefiks": "a"}}), "Statement[0].Condition.StringEquals.s3:prefiks"),
        (json!({"StringEquals": {"prefix": "a"}}), "Statement[0].Condition.StringEquals.prefix"),
        (json!({"StringEquals": {"s3:ExistingObjectTag": "a"}}), "Statement[0].Condition.StringEquals.s3:Exist"),
        (json!({"StringEquals": {"s3:prefix": []}}), "Statement[0].Condition.StringEquals.s3:prefix"),
        (json!({"StringEquals": {"s3:prefix": {"a": "b"}}}), "Statement[0].Condition.StringEquals.s3:prefix"),
        (json!({"StringEquals": {"s3:prefix": null}}), "Statement[0].Condition.StringEquals.s3:prefix"),
        (json!({"StringEquals": "s3:prefix"}), "Statement[0].Condition.StringEquals"),
        (json!({"Bool": {"aws:SecureTransport": "yes"}}), "Statement[0].Condition.Bool.aws:SecureTransport"),
        (json!({"NumericEquals": {"s3:max-keys": "ten"}}), "Statement[0].Condition.NumericEquals.s3:max-keys"),
        (json!({"DateLessThan": {"aws:CurrentTime": "soon"}}), "Statement[0].Condition.DateLessThan"),
        (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}), "Statement[0].Condition.IpAddress"),
        (json!({"ArnLike": {"aws:SourceArn": "bucket"}}), "Statement[0].Condition.ArnLike"),
        (json!({"BinaryEquals": {"s3:prefix": "%"}}), "Statement[0].Condition.BinaryEquals"),
        (json!({"StringLike": {"s3:prefix": "${aws:nobody}"}}), "Statement[0].Condition.StringLike.s3:prefix"),
        (json!([]), "Statement[0].Condition"),
    ] {
        check_refused(with("Condition", condition), place);
    }
}

#[test]
fn a_document_is_one_object_with_statements_in_it() {
    let check = |document: &str| Policy::of_bucket("b", document).expect_err(document).to_string();
    for document in ["", "[]", "null", "\"x\"", "{}", "{", r#"{"Statement": []}"#, r#"{"Statement": "x"}"#] {
        check(document);
    }
    let one = statement().to_string();
    check(&format!(r#"{{"Statement": [{one}], "Version": "2012-10-18"}}"#));
    check(&format!(r#"{{"Statement": [{one}], "version": "2012-10-17"}}"#));
    check(&format!(r#"{{"Statement": [{one}], "Id": 1}}"#));
    check(&format!(r#"{{"Statement": [{one}]}} {{}}"#));
    let sid = with("Sid", json!("same")).to_string();
    assert!(check(&format!(r#"{{"Statement": [{sid}, {sid}]}}"#)).contains("same"));
}

#[test]
fn what_is_named_twice_is_refused_at_every_depth() {
    const REST: &str = r#""Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*""#;
    for (before, behind) in [
        ("\"Statement\": {\"Effect\": \"Deny\", REST}, \"Statement\": {\"Effect\": \"Deny\", REST}", ""),
        ("\"Statement\": {\"Effect\": \"Deny\", \"Effect\": \"Allow\", REST}", ""),
        ("\"Statement\": {\"Effect\": \"Deny\", REST, \"Condition\": ", r#"{"Bool": {"a": 1}, "Bool": {"b": 1}}}"#),
    ] {
        let document = format!("{{{}{behind}}}", before.replace("REST", REST));
        let error = Policy::of_bucket("b", &document).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }
}

#[test]
fn a_document_of_20_kib_is_taken_and_a_longer_one_is_not() {
    let mut document = json!({"Statement": [statement()], "Id": ""});
    let rest = DOCUMENT_LEN_MAX - document.to_string().len();
    document["Id"] = json!("x".repeat(rest));
    Policy::of_bucket("b", &document.to_string()).unwrap();
    document["Id"] = json!("x".repeat(rest + 1));
    assert!(Policy::of_bucket("b", &document.to_string()).unwrap_err().to_string().contains("20480"));
}

#[test]
fn the_policy_of_a_user_names_no_principal_and_may_speak_of_every_service() {
    let check = |statement: Value| Policy::of_user(&json!({"Statement": statement}).to_string());
    assert!(check(statement()).is_err());
    assert!(check(without("Principal")).is_ok());
    let mut statement = without("Principal");
    statement["Action"] = json!(["kms:Decrypt", "iam:GetUser", "s3:*"]);
    statement["Resource"] = json!(["*", "arn:aws:kms:us-east-1:000000000000:alias/x", "arn:aws:s3:::other/*"]);
    statement["Condition"] = json!({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}});
    check(statement.clone()).unwrap();
    statement["Condition"] = json!({"StringEquals": {"s3:prefiks": "x"}});
    assert!(check(statement.clone()).is_err());
    statement["Condition"] = json!({});
    statement["Action"] = json!("GetObject");
    assert!(check(statement.clone()).is_err());
    statement["Action"] = json!("*");
    statement["Resource"] = json!("arn:aws:s3*");
    assert!(check(statement).is_err());
}
