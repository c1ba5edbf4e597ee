//! Ten thousand random policies and requests, on which the engine and the model must agree.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use super::{Decision, Facts, Policy, Principal, judge, model};

#[derive(Clone, Debug)]
struct Case {
    user: Option<Value>,
    bucket: Option<Value>,
    principal: Principal,
    action: &'static str,
    resource: &'static str,
    facts: BTreeMap<&'static str, Vec<&'static str>>,
}

/// What keys have as values, and what a policy may hold against them: by the operators that suit them.
struct Family {
    key: &'static str,
    operators: &'static [&'static str],
    found: &'static [&'static str],
    wanted: &'static [&'static str],
}

const FAMILIES: &[Family] = &[
    Family {
        key: "s3:prefix",
        operators: &[
            "StringEquals",
            "StringNotEquals",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "StringLike",
            "StringNotLike",
        ],
        found: &["", "a", "A", "home/ann/", "a*"],
        wanted: &["", "a", "A", "home/*", "home/${aws:username}/", "?", "a${*}", "${aws:username, 'a'}", "*"],
    },
    Family {
        key: "S3:Max-Keys",
        operators: &[
            "NumericEquals",
            "NumericNotEquals",
            "NumericLessThan",
            "NumericLessThanEquals",
            "NumericGreaterThan",
            "NumericGreaterThanEquals",
        ],
        found: &["5", "10", "1.5", "-3", "many"],
        wanted: &["5", "5.0", "10", "1.5", "-3"],
    },
    Family {
        key: "aws:CurrentTime",
        operators: &[
            "DateEquals",
            "DateNotEquals",
            "DateLessThan",
            "DateLessThanEquals",
            "DateGreaterThan",
            "DateGreaterThanEquals",
        ],
        found: &["2026-01-01T00:00:00Z", "2026-06-01T12:00:00Z", "1767225600", "today"],
        wanted: &["2026", "2026-01-01", "2026-06-01T14:00:00+02:00", "1780315200", "2027-01"],
    },
    Family { key: "aws:SecureTransport", operators: &["Bool"], found: &["true", "false"], wanted: &["true", "false"] },
    Family {
        key: "aws:SourceIp",
        operators: &["IpAddress", "NotIpAddress"],
        found: &["203.0.113.7", "198.51.100.1", "2001:db8::1", "::ffff:203.0.113.7", "nowhere"],
        wanted: &["203.0.113.0/24", "203.0.113.7", "198.51.0.0/16", "2001:db8::/32", "::/0", "0.0.0.0/1"],
    },
    Family {
        key: "aws:SourceArn",
        operators: &["ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike"],
        found: &["arn:aws:s3:::b", "arn:aws:sns:us-east-1:000000000000:ann", "b"],
        wanted: &["arn:aws:s3:::*", "arn:aws:sns:*:*:${aws:username}", "arn:*:s3:::b", "*", "arn:aws:s3:::?"],
    },
    Family {
        key: "s3:x-amz-content-sha256",
        operators: &["BinaryEquals"],
        found: &["YQ==", "Yg=="],
        wanted: &["YQ==", "Yg=="],
    },
    Family {
        key: "aws:TagKeys",
        operators: &["StringEquals", "StringNotEquals", "StringLike"],
        found: &["a", "b", "", "c"],
        wanted: &["a", "b", "c", "*"],
    },
];

fn one_or_more(pool: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![
        select(pool).prop_map(|one| json!(one)),
        subsequence(pool, 1..=3.min(pool.len())).prop_map(|some| json!(some)),
    ]
}

fn condition() -> impl Strategy<Value = (String, &'static str, Value)> {
    let of_family = select((0..FAMILIES.len()).collect::<Vec<_>>()).prop_flat_map(|index| {
        let family = &FAMILIES[index];
        let set = prop_oneof![6 => Just(""), 2 => Just("ForAllValues:"), 2 => Just("ForAnyValue:")];
        (set, select(family.operators), prop_oneof![3 => Just(""), 1 => Just("IfExists")], one_or_more(family.wanted))
            .prop_map(|(set, operator, suffix, wanted)| (format!("{set}{operator}{suffix}"), family.key, wanted))
    });
    let null = (select((0..FAMILIES.len()).collect::<Vec<_>>()), one_or_more(&["true", "false"]))
        .prop_map(|(index, wanted)| ("Null".to_owned(), FAMILIES[index].key, wanted));
    prop_oneof![9 => of_family, 1 => null]
}

fn conditions() -> impl Strategy<Value = Value> {
    prop::collection::vec(condition(), 0..=2).prop_map(|conditions| {
        let mut block = Map::new();
        for (operator, key, wanted) in conditions {
            let tests = block.entry(operator).or_insert_with(|| json!({}));
            tests[key] = wanted;
        }
        block.into()
    })
}

fn principal_element(effect: &'static str) -> impl Strategy<Value = (&'static str, Value)> {
    const NAMES: &[&str] = &[
        "*",
        "000000000000",
        "arn:aws:iam::000000000000:root",
        "arn:aws:iam::000000000000:user/ann",
        "arn:aws:iam::000000000000:user/bob",
        "arn:aws:iam::111122223333:user/ann",
    ];
    let element = if effect == "Deny" { &["Principal", "Principal", "NotPrincipal"][..] } else { &["Principal"][..] };
    let value = prop_oneof![1 => Just(json!("*")), 3 => one_or_more(NAMES).prop_map(|names| json!({"AWS": names}))];
    (select(element), value)
}

fn statement(of_bucket: bool) -> impl Strategy<Value = Value> {
    const ACTIONS: &[&str] =
        &["s3:GetObject", "s3:*", "s3:Get*", "S3:putobject", "s3:?utObject", "*", "s3:DeleteObject", "s3:ListBucket"];
    const RESOURCES: &[&str] = &[
        "arn:aws:s3:::b/*",
        "arn:aws:s3:::b/a*",
        "arn:aws:s3:::b/?",
        "arn:aws:s3:::b/home/${aws:username}/*",
        "arn:aws:s3:::b/home/${aws:username, 'bob'}/*",
        "arn:aws:s3:::b*",
        "arn:aws:s3:::b/${*}",
    ];
    let resources = prop_oneof![
        4 => one_or_more(RESOURCES).prop_map(|pattern| {
            let mut all = vec![json!("arn:aws:s3:::b")];
            match pattern {
                Value::Array(some) => all.extend(some),
                one => all.push(one),
            }
            json!(all)
        }),
        1 => Just(json!("arn:aws:s3:::b*")),
    ];
    let is_action = prop_oneof![4 => Just(true), 1 => Just(false)];
    let is_resource = prop_oneof![4 => Just(true), 1 => Just(false)];
    select(&["Allow", "Deny"][..]).prop_flat_map(move |effect| {
        let elements = (principal_element(effect), one_or_more(ACTIONS), resources.clone(), conditions());
        (elements, is_action.clone(), is_resource.clone()).prop_map(
            move |(((who, named), actions, resources, conditions), is_action, is_resource)| {
                let mut statement = json!({"Effect": effect, "Condition": conditions});
                statement[if is_action { "Action" } else { "NotAction" }] = actions;
                statement[if is_resource { "Resource" } else { "NotResource" }] = resources;
                if of_bucket {
                    statement[who] = named;
                }
                statement
            },
        )
    })
}

fn document(of_bucket: bool) -> impl Strategy<Value = Value> {
    let version = prop_oneof![4 => Just(Some("2012-10-17")), 1 => Just(Some("2008-10-17")), 1 => Just(None)];
    (version, prop::collection::vec(statement(of_bucket), 1..=3)).prop_map(|(version, statements)| match version {
        Some(version) => json!({"Version": version, "Statement": statements}),
        None => json!({"Statement": statements}),
    })
}

fn facts() -> impl Strategy<Value = BTreeMap<&'static str, Vec<&'static str>>> {
    let each: Vec<_> = FAMILIES
        .iter()
        .map(|family| {
            let most = if family.key == "aws:TagKeys" { 3 } else { 1 };
            prop::option::weighted(0.7, subsequence(family.found, 1..=most))
                .prop_map(|values| (family.key, values.unwrap_or_default()))
        })
        .collect();
    each.prop_map(|facts| facts.into_iter().filter(|(_, values)| !values.is_empty()).collect())
}

fn case() -> impl Strategy<Value = Case> {
    let who = select(vec![
        Principal::Anonymous,
        Principal::Owner,
        Principal::User("ann".into()),
        Principal::User("bob".into()),
    ]);
    let action = select(&["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"][..]);
    let resource = select(
        &["arn:aws:s3:::b", "arn:aws:s3:::b/a", "arn:aws:s3:::b/ab", "arn:aws:s3:::b/home/ann/x", "arn:aws:s3:::b/*"][..],
    );
    let policies = (prop::option::of(document(false)), prop::option::weighted(0.8, document(true)));
    (policies, who, action, resource, facts()).prop_map(|((user, bucket), principal, action, resource, mut facts)| {
        if let Principal::User(name) = &principal {
            facts.insert("aws:username", vec![if name == "ann" { "ann" } else { "bob" }]);
        }
        let user = user.filter(|_| matches!(principal, Principal::User(_)));
        Case { user, bucket, principal, action, resource, facts }
    })
}

fn by_engine(case: &Case) -> Decision {
    let user = case.user.as_ref().map(|policy| Policy::of_user(&policy.to_string()).unwrap());
    let bucket = case.bucket.as_ref().map(|policy| Policy::of_bucket("b", &policy.to_string()).unwrap());
    let mut facts = Facts::default();
    for (key, values) in &case.facts {
        facts.set_all(key, values.iter().map(|value| (*value).to_owned()).collect());
    }
    judge(bucket.as_ref(), user.as_ref(), &case.principal, case.action, case.resource, &facts)
}

fn by_model(case: &Case) -> Decision {
    let owned = |values: &Vec<&str>| values.iter().map(|value| (*value).to_owned()).collect();
    let facts = case.facts.iter().map(|(key, values)| (key.to_lowercase(), owned(values))).collect();
    let arn = case.principal.arn();
    let asked = model::Asked { arn: arn.as_deref(), action: case.action, resource: case.resource, facts: &facts };
    let documents: Vec<&Value> = case.user.iter().chain(&case.bucket).collect();
    match model::decide(&asked, &documents) {
        Some("Deny") => Decision::Denied,
        Some(_) => Decision::Allowed,
        None => Decision::NotAllowed,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn engine_and_model_agree(case in case()) {
        prop_assert_eq!(by_engine(&case), by_model(&case));
    }
}

#[test]
fn the_random_cases_reach_every_decision_and_every_operator() {
    let mut runner = TestRunner::deterministic();
    let (mut decisions, mut operators) = (BTreeMap::new(), BTreeSet::new());
    for _ in 0..2_000 {
        let case = case().new_tree(&mut runner).unwrap().current();
        *decisions.entry(format!("{:?}", by_engine(&case))).or_insert(0) += 1;
        let documents = case.user.iter().chain(&case.bucket);
        let statements = documents.flat_map(|document| document["Statement"].as_array().unwrap());
        for name in statements.flat_map(|statement| statement["Condition"].as_object().unwrap().keys()) {
            operators.insert(name.rsplit(':').next().unwrap().trim_end_matches("IfExists").to_owned());
        }
    }
    // Seen of 2,000: 658 allowed, 289 denied, 1,053 neither.
    assert!(decisions.len() == 3 && decisions.values().all(|count| *count > 200), "{decisions:?}");
    let all: BTreeSet<String> =
        FAMILIES.iter().flat_map(|family| family.operators).map(|name| (*name).to_owned()).collect();
    assert!(operators.is_superset(&all) && operators.contains("Null"), "{operators:?}");
}
