//! Stand-ins for account ids, so that a snapshot can be attached to a ticket.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// How many digits an account id has.
const ACCOUNT_DIGITS: usize = 12;

/// Ends of keys whose value is an account id \[EC2M\], such as `VpcOwnerId`. `RequesterId` and the owner of AWS's prefix
/// lists can be names; those are kept.
const ACCOUNT_KEYS: [&str; 4] = ["OwnerId", "RequesterId", "UserId", "AccountId"];

/// What follows the account id in the name of an image registry, by its IPv4 and its dual-stack endpoint.
const REGISTRIES: [&str; 2] = [".dkr.ecr", ".dkr-ecr"];

/// Replaces every account id, wherever it occurs, by a stand-in: `000000000001` for the cluster's own account, the next
/// numbers for the others, in the order of the ids. The same accounts always get the same stand-ins.
///
/// Accounts are found by the keys that hold them, in ARNs and in image registries; each is then replaced in every text
/// of 12 digits that stands by itself: descriptions, tags, annotations, names of files. Other names that may tell
/// something about their owner (clusters, groups, tags, addresses) are kept: the model and its reader need them.
///
/// Predictions do not change: the model only asks whether two accounts are the same.
pub fn redact(answers: &Map<String, Value>) -> Map<String, Value> {
    let stand_ins = stand_ins(answers);
    answers
        .iter()
        .map(|(stem, answer)| (replace(stem, &stand_ins), redacted(answer, &stand_ins)))
        .collect()
}

fn stand_ins(answers: &Map<String, Value>) -> BTreeMap<String, String> {
    let mut accounts = BTreeSet::new();
    for answer in answers.values() {
        find(answer, &mut accounts);
    }
    let arn = answers
        .get("describe-cluster")
        .and_then(|file| file.pointer("/cluster/arn"))
        .and_then(Value::as_str);
    let own = arn.and_then(|arn| arn.split(':').nth(4)).map(str::to_owned);
    let own = own.filter(|own| accounts.remove(own));
    let ordered = own.into_iter().chain(accounts);
    ordered
        .zip(1_u64..)
        .map(|(account, number)| (account, format!("{number:0ACCOUNT_DIGITS$}")))
        .collect()
}

fn find(value: &Value, accounts: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                let account = field.as_str().filter(|text| is_account(text));
                match account.filter(|_| ACCOUNT_KEYS.iter().any(|end| key.ends_with(end))) {
                    Some(account) => {
                        accounts.insert(account.to_owned());
                    }
                    None => find(field, accounts),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find(item, accounts)),
        Value::String(text) => find_in_text(text, accounts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Finds the fifth part of every ARN, and the first label of an image registry.
fn find_in_text(text: &str, accounts: &mut BTreeSet<String>) {
    for (start, _) in text.match_indices("arn:") {
        let account = text.get(start..).and_then(|arn| arn.split(':').nth(4));
        accounts.extend(
            account
                .filter(|account| is_account(account))
                .map(str::to_owned),
        );
    }
    let registries = REGISTRIES.iter();
    for (end, _) in registries.flat_map(|registry| text.match_indices(registry)) {
        let account = end
            .checked_sub(ACCOUNT_DIGITS)
            .and_then(|start| text.get(start..end));
        accounts.extend(
            account
                .filter(|account| is_account(account))
                .map(str::to_owned),
        );
    }
}

fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn redacted(value: &Value, stand_ins: &BTreeMap<String, String>) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, field)| (replace(key, stand_ins), redacted(field, stand_ins)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(|item| redacted(item, stand_ins)).collect(),
        Value::String(text) => Value::String(replace(text, stand_ins)),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain.clone(),
    }
}

/// Replaces the runs of 12 digits that are accounts; a longer run, or one inside a word, is something else.
fn replace(text: &str, stand_ins: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word_end = rest
            .find(|letter: char| !letter.is_alphanumeric())
            .unwrap_or(rest.len());
        let (word, tail) = rest.split_at(word_end);
        result.push_str(stand_ins.get(word).map_or(word, String::as_str));
        let gap_end = tail.find(char::is_alphanumeric).unwrap_or(tail.len());
        let (gap, next) = tail.split_at(gap_end);
        result.push_str(gap);
        rest = next;
    }
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn world() -> Map<String, Value> {
        let world = json!({
            "describe-cluster": { "cluster": { "arn": "arn:aws:eks:eu-central-1:222233334444:cluster/demo" } },
            "describe-vpcs": { "Vpcs": [
                { "VpcId": "vpc-0123456789012", "OwnerId": "222233334444", "Tags": [
                    { "Key": "by", "Value": "team 222233334444, not 2222333344445 or x222233334444" } ] },
                { "VpcId": "vpc-1", "OwnerId": "111122223333" } ] },
            "describe-managed-prefix-lists": { "PrefixLists": [ { "OwnerId": "AWS" } ] },
            "aws-node": { "image": "602401143452.dkr.ecr.eu-central-1.amazonaws.com/amazon-k8s-cni:v1" },
            "describe-nodegroup.ng-111122223333": {},
        });
        world.as_object().unwrap().clone()
    }

    #[test]
    fn own_account_is_the_first_and_the_others_follow_in_order() {
        let redacted = redact(&world());
        let text = Value::Object(redacted.clone()).to_string();
        assert!(
            !text.contains("111122223333") && !text.contains("602401143452"),
            "{text}"
        );
        assert_eq!(
            redacted["describe-cluster"]["cluster"]["arn"],
            "arn:aws:eks:eu-central-1:000000000001:cluster/demo"
        );
        assert_eq!(
            redacted["describe-vpcs"]["Vpcs"][1]["OwnerId"],
            "000000000002"
        );
        assert_eq!(
            redacted["aws-node"]["image"],
            "000000000003.dkr.ecr.eu-central-1.amazonaws.com/amazon-k8s-cni:v1"
        );
        assert!(redacted.contains_key("describe-nodegroup.ng-000000000002"));
    }

    #[test]
    fn digits_inside_ids_and_longer_numbers_are_kept() {
        let redacted = redact(&world());
        let vpc = &redacted["describe-vpcs"]["Vpcs"][0];
        assert_eq!(vpc["VpcId"], "vpc-0123456789012");
        assert_eq!(
            vpc["Tags"][0]["Value"],
            "team 000000000001, not 2222333344445 or x222233334444"
        );
        assert_eq!(
            redacted["describe-managed-prefix-lists"]["PrefixLists"][0]["OwnerId"],
            "AWS"
        );
    }

    #[test]
    fn redaction_of_a_redacted_world_changes_nothing() {
        let once = redact(&world());
        assert_eq!(redact(&once), once);
    }
}
