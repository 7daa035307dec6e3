//! A scenario file, checked, written back, and planned.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sockrates_core::plan::Plan;
use sockrates_core::scenario::Scenario;

fuzz_target!(|text: &str| {
    let Ok(scenario) = Scenario::parse(text) else {
        return;
    };
    assert_eq!(
        Scenario::parse(&scenario.to_toml()).ok().as_ref(),
        Some(&scenario)
    );
    let plan = Plan::new("fuzz", &[scenario], 2, 1);
    assert!(plan.planned_seconds().is_finite());
    assert!(plan.descriptors_needed() > 0);
    for trial in plan.trials(
        &Default::default(),
        &sockrates_core::plan::Target::Fresh {
            arguments: Vec::new(),
        },
    ) {
        let name = trial.file_name();
        assert!(name.len() < 256 && !name.contains(['/', '\0']), "{name}");
        let json = sockrates_core::document::to_json(&trial);
        let read = sockrates_core::document::parse::<sockrates_core::plan::TrialSpec>(&json);
        assert_eq!(read.ok(), Some(trial));
    }
});
