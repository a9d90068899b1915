//! `cargo xtask demo`: the filter at work on real traffic, with every expectation checked.
//!
//! Two namespaces and a veth pair (see [`crate::lab`]), the example policy, and two rounds: one
//! with the hooks that `attach` chooses itself, one with native XDP. Each round shows what is
//! accepted and refused, changes the rules while a TCP connection stays up, and ends with the
//! flow log of it all.

mod conversation;
mod flows;
mod live;
mod probe;
mod story;

use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lab::{self, DEVICE, Family, Hook, Host, Lab, Server, echo_lines, echo_udp, greet};
use crate::setup::{self, DEMO};
use crate::{build, shell};

use story::Story;

/// Shows the filter at work between two network namespaces, and checks what it shows.
///
/// Attaches filter-ctl with the example policy, sends ping, TCP, UDP and HTTP over IPv4 and
/// IPv6, shows what was accepted and refused as flow-log lines, and changes the rules live while
/// a TCP connection stays up. Everything it made is removed, also when it is interrupted. It has
/// a state of its own and disturbs nothing that is attached on this machine.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the round with the hooks that `attach` chooses, or only the one with native XDP.
    #[arg(long, value_enum)]
    hook: Option<Round>,
    /// Use this filter-ctl instead of building one.
    #[arg(long, value_name = "PATH")]
    filter_ctl: Option<PathBuf>,
    /// Do not wait for the flow log's interval to end.
    #[arg(long)]
    no_flow_log: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Round {
    Auto,
    Xdp,
}

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    shell::require_root("the demo", "it makes network namespaces and loads programs into the kernel")?;
    setup::tools(DEMO)?;
    setup::bpffs()?;
    let binary = build::given_or_release(arguments.filter_ctl.as_deref())?;
    let policy = lab::examples().join("web.yaml");
    let mut story = Story::begin();
    let hooks: &[Hook] = match arguments.hook {
        None => &[Hook::Auto, Hook::Xdp],
        Some(Round::Auto) => &[Hook::Auto],
        Some(Round::Xdp) => &[Hook::Xdp],
    };
    let made = lab::guard()?;
    for hook in hooks {
        round(&mut story, &binary, &policy, *hook, !arguments.no_flow_log)
            .with_context(|| format!("the round with --hook {}", hook.name()))?;
        made.remove_all();
    }
    story.end()
}

fn round(story: &mut Story, binary: &Path, policy: &Path, hook: Hook, flow_log: bool) -> Result<()> {
    story.title(match hook {
        Hook::Auto => "With the hooks that attach chooses itself",
        Hook::Xdp => "With native XDP",
    });
    story.step("Two network namespaces, joined by a veth pair");
    let lab = Lab::build("demo", binary)?;
    let servers = Servers::start(&lab)?;
    picture(story);
    story.step("The same traffic first without the filter: everything is let through");
    probe::all_pass(story, &lab)?;

    story.step(&format!("filter-ctl attach {DEVICE} --policy examples/web.yaml --hook {}", hook.name()));
    let begin = flows::now();
    let said = lab.filter.attach(policy, hook)?;
    story.output(&said);
    story.step("Now the policy decides");
    let mut expected = probe::as_the_policy_says(story, &lab)?;
    expected.extend(live::change(story, &lab, policy)?);
    if flow_log {
        flows::show(story, &lab, &expected, begin)?;
    }
    story.step(&format!("filter-ctl detach {DEVICE}"));
    lab.filter.detach()?;
    probe::all_pass(story, &lab)?;
    drop(servers);
    Ok(())
}

fn picture(story: &Story) {
    story.note("workload (protected)                     remote");
    for family in [Family::V4, Family::V6] {
        let of = |host: Host| host.address(family).to_string();
        story.note(&format!(
            "{DEVICE} {:<24} === veth ===  {} (router)",
            of(Host::Workload),
            of(Host::Router)
        ));
        story.note(&format!("{:<43} {} (trusted by the policy)", "", of(Host::Trusted)));
        story.note(&format!("{:<43} {} (the world)", "", of(Host::World)));
    }
}

/// The servers at the protected end, and one at the remote end.
struct Servers(#[expect(dead_code, reason = "held so that they go on serving")] Vec<Server>);

impl Servers {
    fn start(lab: &Lab) -> Result<Self> {
        let any = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let listen =
            |port| lab.workload.enter(move || TcpListener::bind(any(port)))?.context("cannot listen");
        let mut servers = vec![echo_lines(listen(22)?)?];
        for port in [23, 80, 8080] {
            servers.push(greet(listen(port)?)?);
        }
        let socket =
            lab.workload.enter(move || UdpSocket::bind(any(5201)))?.context("cannot open a UDP socket")?;
        servers.push(echo_udp(socket)?);
        let outside = lab.remote.enter(move || TcpListener::bind(any(80)))?.context("cannot listen")?;
        servers.push(greet(outside)?);
        Ok(Self(servers))
    }
}

/// A copy of the example policy in which tcp 22 is no longer allowed from anywhere.
fn without_ssh(policy: &Path, lab: &Lab) -> Result<PathBuf> {
    let text =
        std::fs::read_to_string(policy).with_context(|| format!("cannot read {}", policy.display()))?;
    let changed = live::move_port(&text, 22, 2222)?;
    let file = lab.filter.scratch().join("web-without-ssh.yaml");
    std::fs::write(&file, changed)?;
    Ok(file)
}
