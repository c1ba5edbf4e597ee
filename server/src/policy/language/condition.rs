//! One condition: an operator, a key, and the values it is held against.

use super::document::{Malformed, texts};
use super::json::Json;
use super::operator::{Operand, Operator, Set, Test};
use super::request::Facts;
use super::vocabulary::{self, Prefixes};

/// A condition, compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Condition {
    pub(super) operator: Operator,
    pub(super) lower_key: String,
    pub(super) operands: Vec<Operand>,
}

impl Condition {
    /// The element `Condition`: all of these must hold.
    pub(super) fn parse_block(block: &Json, keys: Prefixes, variables: bool) -> Result<Vec<Self>, Malformed> {
        let Json::Object(operators) = block else {
            return Err(Malformed::new(format!("must be an object of operators, not {}", block.kind())));
        };
        let mut conditions = Vec::new();
        for (name, tests) in operators {
            let operator = Operator::parse(name).ok_or_else(|| Malformed::new("there is no such operator").at(name))?;
            let Json::Object(tests) = tests else {
                return Err(
                    Malformed::new(format!("must be an object of condition keys, not {}", tests.kind())).at(name)
                );
            };
            for (key, values) in tests {
                let condition = Self::parse(operator, key, values, keys, variables);
                conditions.push(condition.map_err(|error| error.at(key).at(name))?);
            }
        }
        Ok(conditions)
    }

    fn parse(operator: Operator, key: &str, values: &Json, keys: Prefixes, variables: bool) -> Result<Self, Malformed> {
        vocabulary::check_key(key, keys).map_err(Malformed::new)?;
        let operand = |text| Operand::parse(operator.test, text, variables).map_err(Malformed::new);
        let operands = texts(values)?.into_iter().map(operand).collect::<Result<_, _>>()?;
        Ok(Self { operator, lower_key: key.to_ascii_lowercase(), operands })
    }

    /// Whether it holds. A key that is absent equals nothing: what asks for a value does not hold then, what forbids one
    /// does.
    pub(super) fn holds(&self, facts: &Facts) -> bool {
        let values = facts.values(&self.lower_key);
        let Operator { test, negated, if_exists, set } = self.operator;
        if test == Test::Null {
            return self.operands.contains(&Operand::Absent(values.is_empty()));
        }
        if values.is_empty() && if_exists {
            return true;
        }
        let passes = |value: &String| self.operands.iter().any(|operand| operand.matches(value, facts)) != negated;
        // To the operators over sets an empty value is none.
        let mut members = values.iter().filter(|value| !value.is_empty());
        match set {
            Set::All => members.all(passes),
            Set::Any => members.any(passes),
            // One thing may have several names: it is what any of them says, and nothing that none of them says.
            Set::Single if negated => values.iter().all(passes),
            Set::Single => values.iter().any(passes),
        }
    }
}
