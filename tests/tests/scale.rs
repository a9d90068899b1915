//! Size: a hundred thousand rules attach and enforce.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use tests::{
    eventually::stretched,
    lab::{Hook, Lab, Side, WORKLOAD},
    policy::Policy,
    process::finish,
    random::Random,
    traffic::{Outcome, assert_tcp},
};

const RULES: u32 = 100_000;

/// Host and port of a rule of [`Policy::many`].
fn rule(number: u32) -> (IpAddr, u16) {
    let [_, second, third, fourth] = number.to_be_bytes();
    let port = u16::try_from(1024 + number % 50_000).expect("a port");
    (Ipv4Addr::new(10, 100 + second, third, fourth).into(), port)
}

#[test]
fn a_hundred_thousand_rules_attach_and_enforce() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let document = lab.write(&Policy::new().many(RULES).log("ALL"));
    let start = Instant::now();
    let _ = lab.try_attach(&document, &[]).ok();
    let attached = start.elapsed();
    eprintln!("{RULES} rules attached in {attached:?}");
    assert!(attached < stretched(Duration::from_secs(60)), "{attached:?}");

    let mut random = Random::new(7);
    let mut numbers = vec![0, 1, RULES / 2, RULES - 1];
    numbers.extend((0..8).map(|_| random.below(RULES.into()) as u32));
    for number in numbers {
        let (host, port) = rule(number);
        let mut ip = lab.remote.command("ip");
        ip.args(["address", "replace", &format!("{host}/32"), "dev", "veth0"]);
        let _ = finish(&mut ip, Duration::from_secs(10)).ok();
        // Nobody listens: a refusal has passed the filter both ways.
        assert_tcp(&lab.remote, host, SocketAddr::new(WORKLOAD.v4, port), Outcome::Refused);
        assert_tcp(&lab.remote, host, SocketAddr::new(WORKLOAD.v4, port ^ 1), Outcome::Silent);
    }
    // No rule names this one.
    let (host, port) = rule(RULES);
    let mut ip = lab.remote.command("ip");
    let _ = finish(
        ip.args(["address", "replace", &format!("{host}/32"), "dev", "veth0"]),
        Duration::from_secs(10),
    )
    .ok();
    assert_tcp(&lab.remote, host, SocketAddr::new(WORKLOAD.v4, port), Outcome::Silent);
    lab.detach();
}
