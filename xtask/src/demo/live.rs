//! The rules change while a TCP connection stays up.

use std::net::IpAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};

use super::conversation::Conversation;
use super::flows::Expected;
use super::story::Story;
use super::{probe, without_ssh};
use crate::lab::{Family, Host, Lab};

/// Takes tcp 22 away and gives it back; the answer is what the flow log must say of it.
pub(super) fn change(story: &mut Story, lab: &Lab, policy: &Path) -> Result<Vec<Expected>> {
    story.step("The rules change while TCP connections stay up");
    let mut talks = Vec::new();
    for family in [Family::V4, Family::V6] {
        talks.push((family, Conversation::open(lab, family)?));
    }
    for (family, talk) in &talks {
        talk.goes_on(5)?;
        story.note(&format!(
            "open: tcp 22 {} -> {}, ten lines a second",
            name(Host::Trusted, *family),
            name(Host::Workload, *family)
        ));
    }

    let changed = without_ssh(policy, lab)?;
    story.note("$ filter-ctl apply web-without-ssh.yaml");
    apply(story, lab, &changed)?;
    for (family, talk) in &talks {
        let before = talk.exchanged();
        let alive = talk.goes_on(10);
        let text = format!(
            "the open {} connection goes on: {} lines since, the longest took {:.1} ms",
            version(*family),
            talk.exchanged() - before,
            talk.longest().as_secs_f64() * 1e3
        );
        story.expect(alive.is_ok(), &text);
        let new = probe::connects(lab, Host::Trusted, *family, 22)?;
        story.expect(!new, &format!("a new {} connection to tcp 22 is refused", version(*family)));
        let web = probe::connects(lab, Host::World, *family, 80)?;
        story.expect(web, &format!("tcp 80 over {} is as open as before", version(*family)));
    }

    story.note("$ filter-ctl apply web.yaml");
    apply(story, lab, policy)?;
    for (family, talk) in &talks {
        let new = probe::connects(lab, Host::Trusted, *family, 22)?;
        story.expect(new, &format!("a new {} connection to tcp 22 is accepted again", version(*family)));
        let alive = talk.goes_on(3).is_ok();
        story.expect(alive, &format!("and the first one is still up after {} lines", talk.exchanged()));
    }
    let refused = |family| Expected {
        source: Host::Trusted.address(family),
        destination: Host::Workload.address(family),
        port: 22,
        protocol: 6,
        accepted: false,
    };
    Ok([Family::V4, Family::V6].map(refused).into())
}

fn apply(story: &Story, lab: &Lab, policy: &Path) -> Result<()> {
    let start = Instant::now();
    let said = lab.filter.apply(policy)?;
    story.output(&said);
    story.note(&format!("took {:.0} ms, starting the program included", start.elapsed().as_secs_f64() * 1e3));
    Ok(())
}

fn name(host: Host, family: Family) -> IpAddr {
    host.address(family)
}

fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// The document with a port of its rules moved: `FromPort: 22` and `ToPort: 22`, and nothing
/// else that happens to be 22.
pub(super) fn move_port(document: &str, from: u16, to: u16) -> Result<String> {
    let mut changed = document.to_owned();
    let mut moved = 0;
    for field in ["FromPort: ", "ToPort: "] {
        let old = format!("{field}{from}");
        let mut rest = std::mem::take(&mut changed);
        while let Some(at) = rest.find(&old) {
            let after = rest.split_off(at + old.len());
            let whole = !after.starts_with(|next: char| next.is_ascii_digit());
            if whole {
                rest.truncate(at);
                rest.push_str(&format!("{field}{to}"));
                moved += 1;
            }
            changed.push_str(&rest);
            rest = after;
        }
        changed.push_str(&rest);
    }
    if moved < 2 {
        bail!("the example policy has no rule for port {from}");
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::move_port;

    #[test]
    fn only_the_whole_port_is_moved() {
        let document = "{ FromPort: 22, ToPort: 22 }\n{ FromPort: 2200, ToPort: 22 }\n# 22\n";
        let moved = move_port(document, 22, 2222).expect("there are rules for it");
        assert_eq!(moved, "{ FromPort: 2222, ToPort: 2222 }\n{ FromPort: 2200, ToPort: 2222 }\n# 22\n");
        assert!(move_port("{ FromPort: 80, ToPort: 80 }", 22, 2222).is_err());
    }
}
