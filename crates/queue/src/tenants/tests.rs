use super::*;

fn span(first: Offset, last: Offset) -> Span {
    Span { first, last }
}

fn with(groups: &[u64]) -> Tenants {
    let mut tenants = Tenants::empty(0);
    tenants.append(0, groups);
    tenants
}

fn take(tenants: &Tenants, most: usize) -> Vec<Offset> {
    tenants.take(most, Offset::MAX, |_| true)
}

#[test]
fn a_long_backlog_of_one_group_is_one_run() {
    let mut tenants = with(&vec![7; 100_000]);
    tenants.append(100_000, &[8, 0, 0, 7]);
    assert_eq!(tenants.runs.len(), 4);
    tenants.moved(span(0, 29), Place::Waiting, Place::Leased);
    assert_eq!(take(&tenants, 4), [100_000, 100_001, 100_002, 30]);
}

#[test]
fn there_is_a_bound_on_what_is_noted_down_and_what_is_beyond_comes_last() {
    let many = RUNS_MAX as u64 + 1_000;
    let groups: Vec<u64> = (0..many).map(|n| 2 + n % 2).collect();
    let mut tenants = with(&groups);
    assert!(tenants.runs.len() <= RUNS_MAX + 1);
    let last = take(&tenants, usize::MAX);
    assert_eq!(last, (0..many).collect::<Vec<_>>());
    // Where runs end, others may be noted down again.
    tenants.moved(span(0, 99), Place::Waiting, Place::Settled);
    tenants.append(many, &[5]);
    let first = take(&tenants, many as usize - 1_000);
    assert!(
        first.contains(&many),
        "a new group does not wait for what is untold"
    );
}

#[test]
fn a_slow_group_is_loud_although_few_of_its_messages_are_out() {
    let mut tenants = with(&[7, 8, 7, 8]);
    tenants.moved(span(0, 0), Place::Waiting, Place::Leased);
    tenants.observe(Timestamp(100_000));
    tenants.moved(span(0, 0), Place::Leased, Place::Settled);
    assert_eq!(take(&tenants, 1), [1], "8 took no time so far");
    tenants.observe(Timestamp(100_010));
    assert_eq!(take(&tenants, 4), [1, 3, 2]);
}

#[test]
fn of_two_loud_groups_the_one_with_fewer_messages_out_comes_first() {
    let mut groups = vec![7; 50];
    groups.extend([8; 40]);
    groups.extend([7, 8]);
    let mut tenants = with(&groups);
    tenants.moved(span(0, 89), Place::Waiting, Place::Leased);
    assert_eq!(take(&tenants, 1), [91]);
    tenants.moved(span(0, 29), Place::Leased, Place::Settled);
    assert_eq!(take(&tenants, 1), [90]);
}

#[test]
fn nothing_is_kept_of_groups_that_are_gone() {
    let mut tenants = with(&[7, 0, 8]);
    tenants.moved(span(0, 2), Place::Waiting, Place::Settled);
    assert!(tenants.is_plain() && tenants.tenants.is_empty() && tenants.heads.is_empty());
}
