//! `reachproof snapshot --print-commands`: a script that collects a snapshot with the AWS CLI and kubectl alone.

use std::fmt::Write as _;

use clap::ValueEnum;
use reachproof_model::describe::{ANSWERS, Answer, Each, Form, Need};

/// Language of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// bash, version 3 or later.
    Bash,
    /// Windows PowerShell or PowerShell.
    Powershell,
}

/// Where the ids of the answers come from that are asked for one by one: a command with its `--query`.
const LISTS: [(Each, &str); 5] = [
    (
        Each::Nodegroup,
        r#"aws eks list-nodegroups --cluster-name "$cluster" --query "nodegroups[]""#,
    ),
    (
        Each::FargateProfile,
        r#"aws eks list-fargate-profiles --cluster-name "$cluster" --query "fargateProfileNames[]""#,
    ),
    (
        Each::PrefixList,
        r#"aws ec2 describe-managed-prefix-lists --query "PrefixLists[].PrefixListId""#,
    ),
    (
        Each::TransitGatewayRouteTable,
        r#"aws ec2 describe-transit-gateway-route-tables --query "TransitGatewayRouteTables[].TransitGatewayRouteTableId""#,
    ),
    (
        Each::Vpc,
        r#"aws ec2 describe-vpcs --filters "Name=vpc-id,Values=$vpcs" --query "Vpcs[].VpcId""#,
    ),
];

/// Commands that name the VPCs with which the cluster's one is joined.
const JOINED: [&str; 2] = [
    r#"aws ec2 describe-vpc-peering-connections --query "VpcPeeringConnections[].[RequesterVpcInfo.VpcId,AccepterVpcInfo.VpcId]""#,
    r#"aws ec2 describe-transit-gateway-vpc-attachments --query "TransitGatewayVpcAttachments[].VpcId""#,
];

/// Command that names the cluster's VPC.
const OWN: &str =
    r#"aws eks describe-cluster --name "$cluster" --query "cluster.resourcesVpcConfig.vpcId""#;

/// Command that names the groups of other VPCs that are associated with these: the filter by VPC leaves them out \[H.1\].
const ASSOCIATED: &str = r#"aws ec2 describe-security-group-vpc-associations --filters "Name=vpc-id,Values=$vpcs" --query "SecurityGroupVpcAssociations[].GroupId""#;

/// Answers in which AWS can hide what it manages itself, and the option that shows it; older versions of the AWS CLI do not
/// have it \[H.1\].
const MANAGED: [&str; 2] = ["describe-network-interfaces", "describe-instances"];

const BASH_HEAD: &str = r#"#!/usr/bin/env bash
# Collects a snapshot for `reachproof --snapshot DIRECTORY`, with the AWS CLI and kubectl alone. Only reads.
#   bash collect.sh CLUSTER [DIRECTORY]
# Region and profile are those of the AWS CLI (AWS_REGION, AWS_PROFILE), the cluster of kubectl its current context.
# VPCs of other Regions and accounts are not read.
set -u
cluster=${1:?usage: collect.sh CLUSTER [DIRECTORY]}
directory=${2:-reachproof-snapshot}
mkdir -p "$directory" || exit 2
failed=0
# keep NEED STEM COMMAND...: keeps the answer if there is one, else says what is missing.
keep() {
  local need=$1 file=$directory/$2.json
  shift 2
  if "$@" > "$file.part"; then
    mv "$file.part" "$file"
  else
    rm -f "$file.part"
    echo "$need answer not read: $*" >&2
    if [ "$need" = required ]; then failed=1; fi
  fi
}
# managed COMMAND...: shows what AWS manages itself, too, where the AWS CLI knows the option.
managed() {
  "$@" --include-managed-resources 2> /dev/null || "$@"
}
# joined WORDS...: the ids among them, each once, with commas between them.
joined() {
  printf '%s\n' "$@" | grep -v '^None$' | sort -u | paste -s -d , -
}
vpcs=$(@OWN@ --output text) || exit 2
"#;

const BASH_TAIL: &str = r#"[ "$failed" = 0 ] || echo "required answers are missing, see above" >&2
echo "reachproof snapshot --check $directory"
exit "$failed"
"#;

const POWERSHELL_HEAD: &str = r#"# Collects a snapshot for `reachproof --snapshot DIRECTORY`, with the AWS CLI and kubectl alone. Only reads.
#   .\collect.ps1 CLUSTER [DIRECTORY]
# Region and profile are those of the AWS CLI (AWS_REGION, AWS_PROFILE), the cluster of kubectl its current context.
# VPCs of other Regions and accounts are not read.
param([Parameter(Mandatory = $true)] [string] $cluster, [string] $directory = "reachproof-snapshot")
New-Item -ItemType Directory -Force -Path $directory | Out-Null
$script:failed = 0
# Keep NEED STEM { COMMAND }: keeps the answer if there is one, else says what is missing.
function Keep([string] $need, [string] $stem, [scriptblock] $command) {
  $answer = & $command
  if ($LASTEXITCODE -eq 0) {
    $answer | Set-Content -Encoding UTF8 -Path (Join-Path $directory "$stem.json")
  } else {
    [Console]::Error.WriteLine("$need answer not read: $command")
    if ($need -eq "required") { $script:failed = 1 }
  }
}
function Ids([string] $text) { $text -split "\s+" | Where-Object { $_ -and $_ -ne "None" } | Sort-Object -Unique }
$vpcs = (@OWN@ --output text)
if ($LASTEXITCODE -ne 0) { exit 2 }
"#;

const POWERSHELL_TAIL: &str = r#"if ($script:failed -ne 0) { [Console]::Error.WriteLine("required answers are missing, see above") }
"reachproof snapshot --check $directory"
exit $script:failed
"#;

/// Writes the script.
pub(super) fn script(shell: Shell) -> String {
    let (head, tail) = match shell {
        Shell::Bash => (BASH_HEAD, BASH_TAIL),
        Shell::Powershell => (POWERSHELL_HEAD, POWERSHELL_TAIL),
    };
    let mut text = head.replace("@OWN@", OWN);
    for command in JOINED {
        let _ = match shell {
            Shell::Bash => writeln!(text, r#"vpcs="$vpcs $({command} --output text)""#),
            Shell::Powershell => writeln!(text, r#"$vpcs = "$vpcs " + ({command} --output text)"#),
        };
    }
    text.push_str(match shell {
        Shell::Bash => "vpcs=$(joined $vpcs)\n",
        Shell::Powershell => "$vpcs = (Ids $vpcs) -join \",\"\n",
    });
    for answer in ANSWERS.iter().filter(|answer| answer.each == Each::Once) {
        once(shell, answer, &mut text);
    }
    associated(shell, &mut text);
    for (each, list) in LISTS {
        let wanted: Vec<_> = ANSWERS
            .iter()
            .filter(|answer| answer.each == each)
            .collect();
        for_each(shell, list, &wanted, &mut text);
    }
    text.push_str(tail);
    text
}

/// The groups of other VPCs, in a file beside that of the own ones.
fn associated(shell: Shell, text: &mut String) {
    let groups = r#"aws ec2 describe-security-groups --filters "Name=group-id,Values=$groups" --output json"#;
    let stem = "describe-security-groups.associated";
    let _ = match shell {
        Shell::Bash => write!(
            text,
            "groups=$(joined $({ASSOCIATED} --output text))\n[ -z \"$groups\" ] || keep optional {stem} {groups}\n"
        ),
        Shell::Powershell => write!(
            text,
            "$groups = (Ids ({ASSOCIATED} --output text)) -join \",\"\nif ($groups) {{ Keep optional {stem} {{ {groups} }} }}\n"
        ),
    };
}

/// The command of an answer with its options.
fn command(answer: &Answer) -> String {
    let format = match answer.form {
        Form::Objects { .. } => "-o json",
        Form::List { .. } | Form::ListOf { .. } | Form::Single { .. } | Form::Plain { .. } => {
            "--output json"
        }
    };
    let parts = [answer.command, answer.options, format];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

fn need(answer: &Answer) -> &'static str {
    match answer.need {
        Need::Required => "required",
        Need::Optional(_) | Need::Silent(_) | Need::UnlessRefused(_) => "optional",
    }
}

fn once(shell: Shell, answer: &Answer, text: &mut String) {
    let (need, stem, command) = (need(answer), answer.stem, command(answer));
    let is_managed = MANAGED.contains(&stem);
    let _ = match shell {
        Shell::Bash if is_managed => writeln!(text, "keep {need} {stem} managed {command}"),
        Shell::Bash => writeln!(text, "keep {need} {stem} {command}"),
        Shell::Powershell if is_managed => writeln!(
            text,
            "Keep {need} {stem} {{ $all = {command} --include-managed-resources 2>$null; if ($LASTEXITCODE -eq 0) {{ $all }} else {{ {command} }} }}"
        ),
        Shell::Powershell => writeln!(text, "Keep {need} {stem} {{ {command} }}"),
    };
}

/// The commands that are called for each id of a list.
fn for_each(shell: Shell, list: &str, answers: &[&Answer], text: &mut String) {
    let _ = match shell {
        Shell::Bash => writeln!(
            text,
            "for id in $({list} --output text | grep -v '^None$'); do"
        ),
        Shell::Powershell => writeln!(text, "foreach ($id in (Ids ({list} --output text))) {{"),
    };
    for answer in answers {
        let (need, stem, command) = (need(answer), answer.stem, command(answer));
        let _ = match shell {
            Shell::Bash => writeln!(text, "  keep {need} \"{stem}.$id\" {command}"),
            Shell::Powershell => writeln!(text, "  Keep {need} \"{stem}.$id\" {{ {command} }}"),
        };
    }
    text.push_str(match shell {
        Shell::Bash => "done\n",
        Shell::Powershell => "}\n",
    });
}
