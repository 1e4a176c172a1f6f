//! Files as people have them: each spoiled file is read with the answers of the clean one, or refused with this very text.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by failing"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use reachproof_model::describe::{Described, parse};
use reachproof_model::flow::Flow;
use reachproof_model::predict::predict;
use reachproof_model::snapshot::Snapshot;
use reachproof_verify::source::{Saved, open};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The answers of a vector, with Kubernetes objects beside them.
fn world() -> Map<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/A01.json");
    let vector = parse(&fs::read_to_string(path).unwrap()).unwrap();
    let mut answers = vector["snapshot"].as_object().unwrap().clone();
    answers.insert("nodes".to_owned(), list(json!([node()])));
    answers.insert("pods".to_owned(), list(json!([pod("a"), pod("b")])));
    answers.insert("networkpolicies".to_owned(), list(json!([policy()])));
    answers
}

fn list(items: Value) -> Value {
    json!({"apiVersion": "v1", "items": items, "kind": "List"})
}

fn node() -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "ip-10-0-2-20"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.2.20"}]}})
}

fn pod(name: &str) -> Value {
    let address = if name == "a" {
        "10.0.2.21"
    } else {
        "10.0.2.64"
    };
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": name},
        "spec": {"nodeName": "ip-10-0-2-20"}, "status": {"phase": "Running", "podIP": address}})
}

fn policy() -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": "elsewhere", "name": "all"}, "spec": {"podSelector": {}}})
}

/// What the model makes of answers: its gaps, and what it says of some flows.
fn made(described: &Described) -> (Vec<String>, Vec<String>) {
    let decoded = Snapshot::decode(described).unwrap();
    let flows = [
        ("10.0.1.20", "10.0.2.20"),
        ("10.0.1.20", "10.0.2.21"),
        ("10.0.1.20", "10.0.1.10"),
        ("10.0.1.20", "10.1.0.5"),
        ("10.0.2.20", "10.0.1.20"),
    ];
    let said = flows.iter().map(|(source, destination)| {
        let flow = Flow::tcp(source.parse().unwrap(), destination.parse().unwrap(), 8080);
        predict(&decoded.snapshot, &flow).verdict.to_string()
    });
    let gaps = decoded.gaps.iter().map(ToString::to_string);
    (gaps.collect(), said.collect())
}

/// A directory with a world, to be spoiled.
struct Files {
    directory: TempDir,
}

impl Files {
    fn clean() -> Self {
        let files = Self {
            directory: TempDir::new().unwrap(),
        };
        for (stem, answer) in &world() {
            let text = serde_json::to_string_pretty(answer).unwrap();
            files.put(&format!("{stem}.json"), text);
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn value(&self, name: &str) -> Value {
        parse(&self.text(name)).unwrap()
    }

    /// The items of an answer.
    fn items(&self, name: &str, key: &str) -> Vec<Value> {
        self.value(name)[key].as_array().unwrap().clone()
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn rename(&self, name: &str, new: &str) {
        fs::rename(self.path(name), self.path(new)).unwrap();
    }

    /// Text without the path of the directory.
    fn local(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }

    /// The error with which the directory is refused.
    fn refusal(&self) -> String {
        self.local(&open(self.directory.path()).unwrap_err().to_string())
    }
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// One test for each way to spoil a file that is read all the same, with its notes.
macro_rules! read {
    ($($name:ident: $spoil:expr => $notes:expr;)+) => {$(
        #[test]
        fn $name() {
            let files = Files::clean();
            let clean = made(&open(files.directory.path()).unwrap().described);
            let spoil: fn(&Files) = $spoil;
            spoil(&files);
            let opened = open(files.directory.path()).map_err(|error| error.to_string()).unwrap();
            assert_eq!(made(&opened.described), clean);
            let notes: Vec<_> = opened.notes.iter().map(|note| files.local(note)).collect();
            let expected: &[&str] = &$notes;
            assert_eq!(notes, expected);
        }
    )+};
}

/// One test for each text that takes the place of an answer and is refused.
macro_rules! refused {
    ($($name:ident: $file:literal, $bytes:expr => $error:expr;)+) => {$(
        #[test]
        fn $name() {
            let files = Files::clean();
            files.put($file, $bytes);
            assert_eq!(files.refusal(), $error);
        }
    )+};
}

const VPCS: &str = "describe-vpcs.json";
const PODS: &str = "pods.json";

read! {
    a_byte_order_mark_is_read: |files| files.put(VPCS, format!("\u{feff}{}", files.text(VPCS))) => [];
    utf_16_of_windows_is_read: |files| files.put(VPCS, utf16(&format!("\u{feff}{}", files.text(VPCS)), u16::to_le_bytes)) => [];
    utf_16_of_the_other_order_is_read: |files| files.put(VPCS, utf16(&format!("\u{feff}{}", files.text(VPCS)), u16::to_be_bytes)) => [];
    utf_16_without_a_mark_is_read: |files| files.put(VPCS, utf16(&files.text(VPCS), u16::to_le_bytes)) => [];
    utf_16_of_the_other_order_without_a_mark_is_read: |files| files.put(VPCS, utf16(&files.text(VPCS), u16::to_be_bytes)) => [];
    lines_that_end_as_on_windows_are_read: |files| files.put(VPCS, files.text(VPCS).replace('\n', "\r\n")) => [];
    gzip_is_read_under_its_own_name: |files| {
        files.put("describe-vpcs.json.gz", gzip(files.text(VPCS).as_bytes()));
        files.remove(VPCS);
    } => [];
    gzip_is_read_under_the_name_of_json: |files| files.put(VPCS, gzip(files.text(VPCS).as_bytes())) => [];
    gzip_of_utf_16_is_read: |files| files.put(VPCS, gzip(&utf16(&format!("\u{feff}{}", files.text(VPCS)), u16::to_le_bytes))) => [];
    blank_lines_around_are_read: |files| files.put(VPCS, format!("\n\n  {}\n\n", files.text(VPCS))) => [];
    pages_in_one_file_are_read: |files| {
        let vpcs = files.items(VPCS, "Vpcs");
        let one = json!({"Vpcs": vpcs[..1], "NextToken": "more"});
        let two = json!({"Vpcs": vpcs[1..]});
        files.put(VPCS, format!("{one}\n{two}\n"));
    } => [];
    documents_of_several_filters_in_one_file_are_read: |files| {
        let vpcs = files.items(VPCS, "Vpcs");
        let all: String = vpcs.iter().map(|vpc| json!({"Vpcs": [vpc]}).to_string()).collect();
        files.put(VPCS, all);
    } => [];
    an_item_a_line_is_read: |files| {
        let vpcs = files.items(VPCS, "Vpcs");
        files.put(VPCS, vpcs.iter().map(|vpc| format!("{vpc}\n")).collect::<String>());
    } => [];
    pages_in_several_files_are_read: |files| {
        let vpcs = files.items(VPCS, "Vpcs");
        files.put("describe-vpcs.1.json", json!({"Vpcs": vpcs[..1], "NextToken": "more"}).to_string());
        files.put("describe-vpcs.2.json", json!({"Vpcs": vpcs[1..]}).to_string());
        files.remove(VPCS);
    } => [];
    pages_under_names_of_their_own_are_read: |files| {
        let vpcs = files.items(VPCS, "Vpcs");
        files.put(VPCS, json!({"Vpcs": vpcs[..1], "NextToken": "more"}).to_string());
        files.put("rest.json", json!({"Vpcs": vpcs[1..]}).to_string());
    } => ["`rest.json` holds the answer of `describe-vpcs` and is taken for that"];
    answers_for_different_ids_are_read: |files| {
        for (place, vpc) in files.items(VPCS, "Vpcs").iter().enumerate() {
            files.put(&format!("describe-vpcs.account-{place}.json"), json!({"Vpcs": [vpc]}).to_string());
        }
        files.remove(VPCS);
    } => [];
    a_bare_list_is_read: |files| files.put(VPCS, files.value(VPCS)["Vpcs"].to_string()) => [];
    a_bare_list_is_known_by_what_it_holds: |files| {
        files.put("mine.json", files.value("describe-subnets.json")["Subnets"].to_string());
        files.remove("describe-subnets.json");
    } => ["`mine.json` holds the answer of `describe-subnets` and is taken for that"];
    a_bare_list_of_instances_is_read: |files| {
        let reservations = files.items("describe-instances.json", "Reservations");
        let instances: Vec<_> = reservations.iter().flat_map(|one| one["Instances"].as_array().unwrap().clone()).collect();
        files.put("describe-instances.json", json!(instances).to_string());
    } => [];
    instances_in_lists_of_lists_are_read: |files| {
        let reservations = files.items("describe-instances.json", "Reservations");
        let instances: Vec<_> = reservations.iter().map(|one| one["Instances"].clone()).collect();
        files.put("describe-instances.json", json!(instances).to_string());
    } => [];
    a_bare_cluster_is_read: |files| files.put("describe-cluster.json", files.value("describe-cluster.json")["cluster"].to_string()) => [];
    a_bare_list_of_objects_is_read: |files| files.put(PODS, files.value(PODS)["items"].to_string()) => [];
    a_bare_object_is_read: |files| files.put("nodes.json", node().to_string()) => [];
    an_object_without_a_version_is_read: |files| {
        let mut bare = node();
        bare.as_object_mut().unwrap().remove("apiVersion");
        files.put("nodes.json", bare.to_string());
    } => [];
    an_object_without_a_kind_is_read_by_the_name_of_its_file: |files| {
        let mut bare = node();
        bare.as_object_mut().unwrap().retain(|field, _| field != "apiVersion" && field != "kind");
        files.put("nodes.json", bare.to_string());
    } => [];
    an_object_a_line_is_read: |files| files.put(PODS, format!("{}\n{}\n", pod("a"), pod("b"))) => [];
    kinds_in_one_list_are_sorted: |files| {
        files.put("all.json", list(json!([pod("a"), policy(), node(), pod("b")])).to_string());
        for name in [PODS, "nodes.json", "networkpolicies.json"] {
            files.remove(name);
        }
    } => ["`all.json` holds the answer of `networkpolicies` and is taken for that",
        "`all.json` holds the answer of `nodes` and is taken for that",
        "`all.json` holds the answer of `pods` and is taken for that"];
    swapped_names_are_read: |files| {
        files.rename(VPCS, "x");
        files.rename("describe-subnets.json", VPCS);
        files.rename("x", "describe-subnets.json");
    } => ["`describe-subnets.json` holds the answer of `describe-vpcs` and is taken for that",
        "`describe-vpcs.json` holds the answer of `describe-subnets` and is taken for that"];
    swapped_kinds_are_read: |files| {
        files.rename(PODS, "x");
        files.rename("nodes.json", PODS);
        files.rename("x", "nodes.json");
    } => ["`nodes.json` holds the answer of `pods` and is taken for that",
        "`pods.json` holds the answer of `nodes` and is taken for that"];
    a_name_without_ending_is_read: |files| files.rename(VPCS, "describe-vpcs") => [];
    a_name_with_another_ending_is_read: |files| files.rename(VPCS, "describe-vpcs.txt") => [];
    a_name_with_underscores_and_capitals_is_read: |files| files.rename(VPCS, "Describe_Vpcs.JSON") => [];
    a_name_that_says_nothing_is_read: |files| files.rename(VPCS, "out.log") => ["`out.log` holds the answer of `describe-vpcs` and is taken for that"];
    a_cluster_with_its_name_in_the_file_is_read: |files| files.rename("describe-cluster.json", "describe-cluster.demo.json") => [];
    entries_are_known_by_the_id_in_any_name: |files| {
        let name = fs::read_dir(files.directory.path()).unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .find(|name| name.starts_with("get-managed-prefix-list-entries.")).unwrap();
        let id = name.split('.').nth(1).unwrap().to_owned();
        files.rename(&name, &format!("entries of {id}.json"));
    } => ["`entries of pl-b412490b1877cea9e.json` holds the answer of `get-managed-prefix-list-entries` and is taken for that"];
    dot_files_are_left_alone: |files| {
        files.put(".DS_Store", [0, 0, 0, 1]);
        files.put("._describe-vpcs.json", [0, 5, 22, 7]);
    } => [];
    leftovers_of_editors_are_left_alone: |files| {
        files.put("describe-vpcs.json~", "{\"Vpcs\": []}");
        files.put("describe-vpcs.json.bak", "{");
    } => [];
    other_files_are_left_alone: |files| {
        files.put("README.md", "# my cluster\n");
        files.put("collect.sh", "#!/bin/sh\naws ec2 describe-vpcs\n");
        files.put("package-lock", "{\"name\": \"x\"}");
        fs::create_dir(files.path("old")).unwrap();
    } => [];
    a_whole_snapshot_in_a_directory_is_read: |files| {
        for entry in fs::read_dir(files.directory.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        files.put("whole.json", Value::Object(world()).to_string());
    } => [];
    all_answers_behind_each_other_are_read: |files| {
        for entry in fs::read_dir(files.directory.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let without_id: Map<String, Value> = world().into_iter().filter(|(stem, _)| !stem.contains('.')).collect();
        let all: String = without_id.values().map(|answer| format!("{answer:#}\n")).collect();
        files.put("describe-vpcs.json", all);
        for (stem, answer) in world() {
            if stem.contains('.') {
                files.put(&format!("{stem}.json"), answer.to_string());
            }
        }
    } => MISNAMED;
}

/// Notes of all answers but one in a file.
const MISNAMED: [&str; 18] = [
    "`describe-vpcs.json` holds the answer of `describe-subnets` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-network-interfaces` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-instances` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-security-groups` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-security-group-rules` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-security-group-vpc-associations` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-stale-security-groups` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-network-acls` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-route-tables` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-vpc-peering-connections` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-transit-gateways` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-transit-gateway-vpc-attachments` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-managed-prefix-lists` and is taken for that",
    "`describe-vpcs.json` holds the answer of `describe-cluster` and is taken for that",
    "`describe-vpcs.json` holds the answer of `aws-node` and is taken for that",
    "`describe-vpcs.json` holds the answer of `nodes` and is taken for that",
    "`describe-vpcs.json` holds the answer of `pods` and is taken for that",
    "`describe-vpcs.json` holds the answer of `networkpolicies` and is taken for that",
];

refused! {
    an_empty_file: "describe-vpcs.json", "" => "`describe-vpcs.json` is empty: see what `aws ec2 describe-vpcs --output json` says, and write it again";
    a_file_of_blanks: "pods.json", " \n\t\n" => "`pods.json` is empty: see what `kubectl get pods --all-namespaces -o json` says, and write it again";
    yaml_of_kubectl: "pods.json", "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n" => "`pods.json` is YAML, not JSON: write it with `kubectl get pods --all-namespaces -o json`; it begins `apiVersion: v1 items: - apiVersion: v1   kind: Pod`";
    yaml_of_the_aws_cli: "describe-vpcs.json", "Vpcs:\n- CidrBlock: 10.0.0.0/16\n" => "`describe-vpcs.json` is YAML, not JSON: write it with `aws ec2 describe-vpcs --output json`; it begins `Vpcs: - CidrBlock: 10.0.0.0/16`";
    yaml_with_a_line_above: "nodes.json", "---\napiVersion: v1\n" => "`nodes.json` is YAML, not JSON: write it with `kubectl get nodes -o json`; it begins `--- apiVersion: v1`";
    text_of_the_aws_cli: "describe-vpcs.json", "VPCS\t10.0.0.0/16\tdopt-1\tdefault\tFalse\n" => "`describe-vpcs.json` is what `--output text` prints, not JSON: write it with `aws ec2 describe-vpcs --output json`; it begins `VPCS 10.0.0.0/16 dopt-1 default False`";
    a_table_of_the_aws_cli: "describe-vpcs.json", "-----------------\n|  DescribeVpcs |\n+---------------+\n" => "`describe-vpcs.json` is what `--output table` prints, not JSON: write it with `aws ec2 describe-vpcs --output json`; it begins `----------------- |  DescribeVpcs | +---------------+`";
    a_table_of_kubectl: "pods.json", "NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE\ndefault     a      1/1     Running   0          3d\n" => "`pods.json` is a table of kubectl, not JSON: write it with `kubectl get pods --all-namespaces -o json`; it begins `NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE default`";
    an_error_of_aws: "describe-vpcs.json", "\nAn error occurred (UnauthorizedOperation) when calling the DescribeVpcs operation: You are not authorized\n" => "`describe-vpcs.json` holds an error of the AWS CLI: remedy that, then write it with `aws ec2 describe-vpcs --output json`; it begins `An error occurred (UnauthorizedOperation) when calling the D`";
    no_credentials: "describe-vpcs.json", "Unable to locate credentials. You can configure credentials by running \"aws configure\".\n" => "`describe-vpcs.json` holds an error of the AWS CLI: remedy that, then write it with `aws ec2 describe-vpcs --output json`; it begins `Unable to locate credentials. You can configure credentials`";
    usage_of_the_aws_cli: "describe-vpcs.json", "usage: aws [options] <command> <subcommand>\naws: error: argument operation\n" => "`describe-vpcs.json` holds an error of the AWS CLI: remedy that, then write it with `aws ec2 describe-vpcs --output json`; it begins `usage: aws [options] <command> <subcommand> aws: error: argu`";
    an_expired_login: "describe-vpcs.json", "Error when retrieving token from sso: Token has expired and refresh failed\n" => "`describe-vpcs.json` holds an error of the AWS CLI: remedy that, then write it with `aws ec2 describe-vpcs --output json`; it begins `Error when retrieving token from sso: Token has expired and`";
    an_error_of_kubectl: "pods.json", "Error from server (Forbidden): pods is forbidden: User \"me\" cannot list resource\n" => "`pods.json` holds an error of kubectl: remedy that, then write it with `kubectl get pods --all-namespaces -o json`; it begins `Error from server (Forbidden): pods is forbidden: User \"me\"`";
    a_refused_connection: "pods.json", "The connection to the server localhost:8080 was refused - did you specify the right host or port?\n" => "`pods.json` holds an error of kubectl: remedy that, then write it with `kubectl get pods --all-namespaces -o json`; it begins `The connection to the server localhost:8080 was refused - di`";
    an_unknown_resource: "eniconfigs.json", "error: the server doesn't have a resource type \"eniconfigs\"\n" => "`eniconfigs.json` holds an error of kubectl: remedy that, then write it with `kubectl get eniconfigs -o json`; it begins `error: the server doesn't have a resource type \"eniconfigs\"`";
    no_resources: "networkpolicies.json", "No resources found in default namespace.\n" => "`networkpolicies.json` says that kubectl found nothing: write the empty list with `kubectl get networkpolicies --all-namespaces -o json`; it begins `No resources found in default namespace.`";
    a_prompt: "describe-vpcs.json", "$ aws ec2 describe-vpcs\n{\"Vpcs\": []}\n" => "`describe-vpcs.json` holds what a shell wrote: leave that out, or write it with `aws ec2 describe-vpcs --output json`; it begins `$ aws ec2 describe-vpcs {\"Vpcs\": []}`";
    a_prompt_with_a_name: "pods.json", "me@laptop:~/x$ kubectl get pods -o json\n{\"items\": []}\n" => "`pods.json` holds what a shell wrote: leave that out, or write it with `kubectl get pods --all-namespaces -o json`; it begins `me@laptop:~/x$ kubectl get pods -o json {\"items\": []}`";
    a_prompt_of_windows: "describe-vpcs.json", "PS C:\\Users\\me> aws ec2 describe-vpcs\r\n{\"Vpcs\": []}\r\n" => "`describe-vpcs.json` holds what a shell wrote: leave that out, or write it with `aws ec2 describe-vpcs --output json`; it begins `PS C:\\Users\\me> aws ec2 describe-vpcs  {\"Vpcs\": []}`";
    a_command_not_found: "describe-vpcs.json", "bash: aws: command not found\n" => "`describe-vpcs.json` holds what a shell wrote: leave that out, or write it with `aws ec2 describe-vpcs --output json`; it begins `bash: aws: command not found`";
    a_web_page: "describe-vpcs.json", "<!DOCTYPE html>\n<html><title>Sign in</title></html>\n" => "`describe-vpcs.json` is a web page: write it with `aws ec2 describe-vpcs --output json`; it begins `<!DOCTYPE html> <html><title>Sign in</title></html>`";
    xml: "describe-vpcs.json", "<DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n" => "`describe-vpcs.json` is XML, not JSON: write it with `aws ec2 describe-vpcs --output json`; it begins `<DescribeVpcsResponse xmlns=\"http://ec2.amazonaws.com/doc/20`";
    colours: "describe-vpcs.json", "\u{1b}[1;39m{\u{1b}[0m\n" => "`describe-vpcs.json` holds escape sequences for colours: write it with `aws ec2 describe-vpcs --output json`; it begins `?[1;39m{?[0m`";
    colours_behind_the_brace: "describe-vpcs.json", "{\u{1b}[34m\"Vpcs\"\u{1b}[0m: []}\n" => "`describe-vpcs.json` holds escape sequences for colours: write it with `aws ec2 describe-vpcs --output json`; it begins `{?[34m\"Vpcs\"?[0m: []}`";
    python: "describe-vpcs.json", "{'Vpcs': [{'VpcId': 'vpc-1', 'IsDefault': False}]}\n" => "`describe-vpcs.json` is what Python prints, not JSON: write it with `aws ec2 describe-vpcs --output json`; it begins `{'Vpcs': [{'VpcId': 'vpc-1', 'IsDefault': False}]}`";
    a_warning_before: "describe-vpcs.json", "WARNING something is old\n{\"Vpcs\": []}\n" => "`describe-vpcs.json` has other text before its JSON: leave that out, or write it with `aws ec2 describe-vpcs --output json`; it begins `WARNING something is old {\"Vpcs\": []}`";
    an_error_behind: "describe-vpcs.json", "{\"Vpcs\": []}\nAn error occurred (RequestLimitExceeded)\n" => "`describe-vpcs.json` has other text behind its JSON: leave that out, or write it with `aws ec2 describe-vpcs --output json`; it begins `An error occurred (RequestLimitExceeded)`";
    cut_off: "describe-vpcs.json", "{\"Vpcs\": [{\"VpcId\": \"vpc-1\",\n" => "`describe-vpcs.json` is cut off at line 2, column 0: write it with `aws ec2 describe-vpcs --output json`; it begins `{\"Vpcs\": [{\"VpcId\": \"vpc-1\",`";
    cut_off_in_a_text: "describe-vpcs.json", "{\"Vpcs\": [{\"VpcId\": \"vpc-" => "`describe-vpcs.json` is cut off at line 1, column 25: write it with `aws ec2 describe-vpcs --output json`; it begins `{\"Vpcs\": [{\"VpcId\": \"vpc-`";
    a_trailing_comma: "describe-vpcs.json", "{\"Vpcs\": [],}" => "`describe-vpcs.json` is no JSON, trailing comma at line 1 column 13: write it with `aws ec2 describe-vpcs --output json`; it begins `{\"Vpcs\": [],}`";
    a_key_twice: "describe-vpcs.json", "{\"Vpcs\": [], \"Vpcs\": []}" => "`describe-vpcs.json` cannot be used, key `Vpcs` appears twice in one object, keep one of them at line 1 column 19";
    a_zip_archive: "describe-vpcs.json", b"PK\x03\x04rest" => "`describe-vpcs.json` is an archive: unpack it and give the directory";
    a_gzip_that_is_cut_off: "describe-vpcs.json", &gzip(&[b' '; 9_000])[..40] => "`describe-vpcs.json` is a gzip file that is damaged or cut off: write it with `aws ec2 describe-vpcs --output json`";
    bytes_of_another_encoding: "describe-vpcs.json", b"{\"Vpcs\": [], \"n\": \"M\xfcnchen\"}" => "`describe-vpcs.json` is neither UTF-8 nor UTF-16: write it with `aws ec2 describe-vpcs --output json`";
    other_text: "describe-vpcs.json", "see the ticket\n" => "`describe-vpcs.json` is no JSON: write it with `aws ec2 describe-vpcs --output json`; it begins `see the ticket`";
    a_query_without_a_match: "describe-vpcs.json", "null\n" => "`describe-vpcs.json` is a single value, no answer: write it whole, with `aws ec2 describe-vpcs --output json` and without `--query`; it begins `null`";
    a_query_for_ids: "describe-vpcs.json", "[\"vpc-1\", \"vpc-2\"]" => "`describe-vpcs.json` is a list of single values, no answer: write it whole, with `aws ec2 describe-vpcs --output json` and without `--query`; it begins `[\"vpc-1\",\"vpc-2\"]`";
    a_query_for_some_fields: "describe-subnets.json", "[{\"Az\": \"x-1a\"}]" => "`describe-subnets.json` has no list `Subnets`, it is not the answer of its command: write it whole, with `aws ec2 describe-subnets --output json` and without `--query`; it begins `[{\"Az\":\"x-1a\"}]`";
    an_error_as_an_object: "describe-vpcs.json", "{\"__type\": \"AccessDenied\", \"message\": \"no\"}" => "`describe-vpcs.json` has no list `Vpcs`, it is not the answer of its command: write it whole, with `aws ec2 describe-vpcs --output json` and without `--query`; it begins `{\"__type\":\"AccessDenied\",\"message\":\"no\"}`";
    a_status: "networkpolicies.json", "{\"kind\": \"Status\", \"apiVersion\": \"v1\", \"metadata\": {}, \"message\": \"networkpolicies.networking.k8s.io is forbidden\"}" => "`networkpolicies.json` is an error of the API server, `networkpolicies.networking.k8s.io is forbidden`: get the right and write it with `kubectl get networkpolicies --all-namespaces -o json`, or remove the file";
    another_kind: "networkpolicies.json", "{\"kind\": \"ConfigMapList\", \"apiVersion\": \"v1\", \"items\": [{\"kind\": \"ConfigMap\", \"apiVersion\": \"v1\"}]}" => "`networkpolicies.json` holds objects of kind `ConfigMap`: write it with `kubectl get networkpolicies --all-namespaces -o json`";
    an_empty_list_of_anything: "x.json", "[]" => "`x.json` is an empty list, and its name does not say of what: name it after its command, such as `describe-vpcs.json`";
    entries_of_some_list: "entries.json", "{\"Entries\": [{\"Cidr\": \"10.0.0.0/8\"}]}" => "`entries.json` holds the answer of `get-managed-prefix-list-entries`, but does not say for which id: name it `get-managed-prefix-list-entries.pl-….json`";
    an_answer_twice: "copy.json", "{\"Vpcs\": []}" => "`copy.json` and `describe-vpcs.json` hold the same answer, `describe-vpcs`, and are not pages of it: keep one of them";
}

#[test]
fn a_file_with_a_line_for_each_of_many_objects_is_read_in_time_with_one_note() {
    let files = Files::clean();
    let line = format!("{}\n", pod("a"));
    files.remove(PODS);
    files.put("all.jsonl", line.repeat(50_000));
    let begun = std::time::Instant::now();
    let opened = open(files.directory.path()).unwrap();
    // Far more than it takes, far less than a parser that counts lines from the start each time.
    assert!(begun.elapsed().as_secs() < 30);
    let pods = opened.described.get("pods").unwrap();
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(50_000));
    let notes: Vec<_> = opened.notes.iter().map(|note| files.local(note)).collect();
    assert_eq!(
        notes,
        ["`all.jsonl` holds the answer of `pods` and is taken for that"]
    );
}

#[test]
fn a_last_page_that_is_missing_is_refused() {
    let files = Files::clean();
    let vpcs = files.items(VPCS, "Vpcs");
    let page = |place: usize| json!({"Vpcs": [vpcs[place]], "NextToken": "more"}).to_string();
    files.put(VPCS, format!("{}\n{}", page(0), page(1)));
    let described = open(files.directory.path()).unwrap().described;
    assert_eq!(
        Snapshot::decode(&described).unwrap_err().to_string(),
        "`describe-vpcs` is incomplete, it has a `NextToken`: read the following pages, too"
    );
}

#[test]
fn one_cluster_twice_is_refused_and_of_two_one_is_chosen() {
    let files = Files::clean();
    let mut cluster = files.value("describe-cluster.json");
    files.put("copy.json", cluster.to_string());
    assert_eq!(
        files.refusal(),
        "`copy.json` and `describe-cluster.json` hold the same answer, `describe-cluster.demo`, and are not pages of it: keep one of them"
    );
    cluster["cluster"]["name"] = json!("other");
    files.put("copy.json", cluster.to_string());
    let saved = |cluster: &str| Saved {
        path: files.directory.path().to_owned(),
        cluster: Some(cluster.to_owned()),
    };
    let described = open(files.directory.path()).unwrap().described;
    assert_eq!(
        Snapshot::decode(&described).unwrap_err().to_string(),
        "the snapshot has 2 clusters, `demo`, `other`: name one with --cluster"
    );
    for name in ["demo", "other"] {
        let described = saved(name).open().unwrap().described;
        let snapshot = Snapshot::decode(&described).unwrap().snapshot;
        assert_eq!(snapshot.cluster().unwrap().name, name);
    }
    assert_eq!(
        saved("third").open().unwrap_err().to_string(),
        "no cluster `third` in the snapshot, it has `demo`, `other`"
    );
}

/// The world of a field input.
fn field(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/field");
    directory.join(format!("{name}.json"))
}

#[test]
fn a_forbidden_list_of_policies_is_refused_as_a_status() {
    let error = open(&field("networkpolicies-forbidden-status"))
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("networkpolicies-forbidden-status.json: networkpolicies` is an error of the API server, `networkpolicies.networking.k8s.io is forbidden`: get the right and write it with `kubectl get networkpolicies --all-namespaces -o json`, or remove the file"),
        "{error}"
    );
}

#[test]
fn a_cluster_with_its_name_behind_the_stem_has_its_control_plane() {
    let described = open(&field("describe-cluster-with-id")).unwrap().described;
    let snapshot = Snapshot::decode(&described).unwrap().snapshot;
    let found = snapshot.control_plane_interfaces();
    let ids: Vec<_> = found.iter().map(|one| one.interface.id.as_str()).collect();
    assert_eq!(ids, ["eni-5bdb6c52b1306ee51", "eni-900202e21e63c7e54"]);
}

#[test]
fn the_cni_among_all_daemonsets_translates_as_it_says() {
    let described = open(&field("aws-node-all-daemonsets")).unwrap().described;
    let snapshot = Snapshot::decode(&described).unwrap().snapshot;
    let vector = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/F19.json");
    let vector = parse(&fs::read_to_string(vector).unwrap()).unwrap();
    let flow = Flow::from_json(&vector["flow"]).unwrap();
    let verdict = serde_json::to_value(predict(&snapshot, &flow).verdict).unwrap();
    assert_eq!(verdict, vector["expect"]);
    assert_eq!(verdict["verdict"], "deny");
}
