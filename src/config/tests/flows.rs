//! Several flows to a target.

use super::*;

#[test]
fn flows_are_bounded_each_and_all_together() {
    let spec =
        target("targets = [{ host = '192.0.2.1', flows = 16, per_flow = true, reopen = 'never' }]");
    assert_eq!(
        (spec.flows, spec.per_flow, spec.reopen),
        (16, true, Reopen::Never)
    );
    assert_eq!(spec.flow_count(), 33, "of UDP and TCP, and the connects");
    let inherited = target("flows = 4\ntargets = [{ host = '192.0.2.1', type = 'udp' }]");
    assert_eq!((inherited.flows, inherited.flow_count()), (4, 4));
    for wrong in [
        "flows = 0",
        "flows = 65",
        "flows = 1.5",
        "per_flow = 1",
        "reopen = 'always'",
    ] {
        let text = format!("targets = [{{ host = '192.0.2.1', {wrong} }}]");
        let told = Config::parse(&text, &Overrides::default())
            .unwrap_err()
            .to_string();
        let key = wrong.split(' ').next().unwrap();
        assert!(told.contains(key), "{wrong}: {told}");
    }
    let few = "targets = [{ host = '192.0.2.1', flows = 4, source_port = '40000-40002' }]";
    let told = Config::parse(few, &Overrides::default())
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("has 3 ports, and the target has 4 `flows`"),
        "{told}"
    );
    let program = TargetOptions::new("192.0.2.4").flows(65);
    assert!(Config::default().target(program).is_err());
    let many = "[[targets]]\nhost = '192.0.2.1'\n".repeat(400);
    let told = Config::parse(&format!("flows = 64\n{many}"), &Overrides::default())
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("the targets have 51600 flows, and 49152 is the maximum"),
        "{told}"
    );
}
