//! `filter-ctl` killed at random moments: enforcement is the old one or the new one, never neither.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tests::{
    lab::{HOST, Hook, Lab, Side, WORKLOAD},
    policy::Policy,
    process::{Background, signal},
    random::Random,
    servers::Server,
    traffic::{self, Outcome, PATIENCE},
};

/// Repeat a failure with the seed that it prints.
const SEED: u64 = 0x5eed_f117_e500_0001;
/// The other end is on this host: what is not dropped is answered much sooner.
const SILENCE: Duration = Duration::from_millis(250);

struct Scene {
    lab: Lab,
    servers: [Server; 2],
    documents: [PathBuf; 2],
}

impl Scene {
    /// Document 0 opens port 80 to the host, document 1 opens port 81.
    fn new(side: Side) -> Self {
        let mut lab = Lab::new(Hook::Auto, side);
        let documents = [80, 81].map(|port| {
            lab.write(&Policy::new().log("ALL").allow_in(&format!("tcp {port}"), &format!("{}/32", HOST.v4)))
        });
        let servers = [80, 81].map(|port| Server::tcp_echo(&lab.workload, WORKLOAD.v4, port));
        Self { lab, servers, documents }
    }

    /// Which of the two ports is open.
    fn open(&self) -> [bool; 2] {
        let ask = |patience| {
            [0, 1].map(|number| {
                let to = self.servers[number].address();
                traffic::tcp(&self.lab.remote, HOST.v4, to, patience) == Outcome::Answered
            })
        };
        match ask(SILENCE) {
            // On a busy machine no answer in time is not yet a drop.
            [false, false] => ask(4 * SILENCE),
            open => open,
        }
    }

    /// How long the command takes when nobody kills it.
    fn duration_of_apply(&self) -> Duration {
        let start = Instant::now();
        let _ = self.lab.filter_ctl([Path::new("apply"), &self.documents[1]]).ok();
        start.elapsed()
    }
}

/// Starts a command and kills it somewhere within its usual time.
fn kill(command: &mut std::process::Command, usual: Duration, random: &mut Random) -> Option<i32> {
    let mut process = Background::start(command);
    let micros = u64::try_from(usual.as_micros()).expect("less than an age");
    // The one sleep that is meant: the moment of the kill is what is tested.
    thread::sleep(Duration::from_micros(random.below(micros + micros / 10)));
    let _ = signal(process.id(), libc::SIGKILL);
    process.exit_code(PATIENCE)
}

fn apply_killed(side: Side) {
    eprintln!("seed {SEED:#x}");
    let mut random = Random::new(SEED);
    let scene = Scene::new(side);
    let lab = &scene.lab;
    let _ = lab.try_attach(&scene.documents[0], &[]).ok();
    let usual = scene.duration_of_apply();
    for round in 0..25 {
        let number = usize::try_from(random.below(2)).expect("0 or 1");
        let mut command = lab.filter_ctl_command();
        let code = kill(command.arg("apply").arg(&scene.documents[number]), usual, &mut random);
        let open = scene.open();
        assert!(open == [true, false] || open == [false, true], "round {round}: open {open:?}");
        if code == Some(0) {
            assert!(open[number], "round {round}: applied, but not enforced");
        }
        if round % 5 == 4 {
            let _ = lab.filter_ctl([Path::new("apply"), &scene.documents[number]]).ok();
            assert!(scene.open()[number], "round {round}: the next command does not work");
        }
    }
    let _ = lab.filter_ctl(["status"]).ok();
    let _ = lab.filter_ctl(["flows"]).ok();
    lab.detach();
}

#[test]
fn a_killed_apply_leaves_the_old_rules_or_the_new_ones_on_side_workload() {
    apply_killed(Side::Workload);
}

#[test]
fn a_killed_apply_leaves_the_old_rules_or_the_new_ones_on_side_host() {
    apply_killed(Side::Host);
}

#[test]
fn a_killed_attach_leaves_everything_open_or_the_policy_enforced() {
    eprintln!("seed {SEED:#x}");
    let mut random = Random::new(SEED);
    let scene = Scene::new(Side::Workload);
    let lab = &scene.lab;
    let start = Instant::now();
    let _ = lab.try_attach(&scene.documents[0], &[]).ok();
    let usual = start.elapsed();
    lab.detach();
    for round in 0..12 {
        let mut command = lab.filter_ctl_command();
        command.args(["attach", lab.device().1, "--interface-id", tests::policy::ENI, "--policy"]);
        let _ = kill(command.arg(&scene.documents[0]), usual, &mut random);
        let open = scene.open();
        assert!(open == [true, true] || open == [true, false], "round {round}: open {open:?}");
        // Either the next attach works, or it says that the device is attached and detach works.
        let next = lab.try_attach(&scene.documents[1], &[]);
        if next.code == 0 {
            assert_eq!(scene.open(), [false, true], "round {round}: attached, but not enforced");
        } else {
            let _ = next.code(5);
        }
        lab.detach();
        assert_eq!(scene.open(), [true, true], "round {round}: something is left");
    }
}
