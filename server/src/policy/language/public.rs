//! Whether a bucket's policy makes it public, as S3 means it.
//!
//! A policy is public until each of its allowances is bound to somebody: by its principal, or by a condition that only
//! holds for values which are fixed. Denials are not looked at, since what they leave over cannot be told for all
//! requests at once.

use ipnet::IpNet;

use super::condition::Condition;
use super::document::Policy;
use super::operator::{Operand, Set};
use super::principal::Named;
use super::statement::{Effect, Scope, Statement};

/// Keys of which a fixed value means somebody.
const BINDING: [&str; 15] = [
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "aws:username",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];

impl Policy {
    /// Whether it allows something to everybody.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(is_public)
    }
}

fn is_public(statement: &Statement) -> bool {
    let everyone = match &statement.principals {
        Some(Scope::Only(named)) => named.contains(&Named::Everyone),
        Some(Scope::AllBut(_)) | None => true,
    };
    statement.effect == Effect::Allow && everyone && !statement.conditions.iter().any(binds)
}

fn binds(condition: &Condition) -> bool {
    let operator = condition.operator;
    // These also hold where the key is absent.
    let lax = operator.negated || operator.if_exists || operator.set == Set::All;
    !lax && BINDING.contains(&condition.lower_key.as_str()) && condition.operands.iter().all(is_fixed)
}

fn is_fixed(operand: &Operand) -> bool {
    match operand {
        Operand::Text(pattern, _) | Operand::Arn(pattern) => pattern.is_fixed(),
        Operand::Addresses(network) => is_narrow(network),
        Operand::Number(..) | Operand::Date(..) | Operand::Bool(_) | Operand::Binary(_) | Operand::Absent(_) => false,
    }
}

/// Ranges as wide as these are as good as everybody.
fn is_narrow(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() >= 8,
        IpNet::V6(network) => network.prefix_len() >= 32,
    }
}
