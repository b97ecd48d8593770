use super::*;

fn settings(folder: &tempfile::TempDir) -> Settings {
    Settings { data_dir: folder.path().into(), ..Settings::default() }
}

fn secret(byte: u8) -> Secret {
    Secret::new(&[byte; 32]).unwrap()
}

/// Does what a founder does after its decision.
fn found(settings: &Settings) -> Identity {
    let opened = open(settings, &[0, 1]).unwrap();
    let Entry::Found { identity, secret } = opened.entry else { panic!("{:?}", opened.entry) };
    opened.dir.write_secret(&secret).unwrap();
    opened.dir.write_identity(&identity).unwrap();
    identity
}

#[test]
fn an_empty_directory_on_loopback_founds_and_is_a_member_ever_after() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder);
    settings.partitions = 64;
    let identity = found(&settings);
    assert_eq!((identity.partition_bits, identity.shards), (6, 2));
    // Every flag that decides in an empty directory is ignored in a member's.
    settings.seeds = vec!["127.0.0.9:7400".parse().unwrap()];
    (settings.found, settings.join, settings.partitions) = (true, true, 128);
    settings.listen = [10, 0, 0, 1].into();
    let opened = open(&settings, &[0, 1]).unwrap();
    assert!(matches!(opened.entry, Entry::Member { identity: kept, .. } if kept == identity));
}

#[test]
fn boots_of_two_lives_differ() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&settings(&folder), &[0]).unwrap().boot;
    let second = open(&settings(&folder), &[0]).unwrap().boot;
    assert!(second > first);
}

#[test]
fn flags_decide_in_an_empty_directory() {
    let folder = tempfile::tempdir().unwrap();
    let base = settings(&folder);
    let seeds = vec!["127.0.0.9:7400".parse().unwrap()];
    let beyond =
        Settings { listen: [10, 0, 0, 1].into(), cluster_secret: Some(secret(1)), ..base.clone() };
    let entry = |settings: Settings| open(&settings, &[0]).map(|opened| opened.entry);
    let refused = |settings: Settings| {
        let failure = entry(settings).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        failure.to_string()
    };

    let enter = Settings { seeds: seeds.clone(), join: true, ..base.clone() };
    assert!(matches!(entry(enter), Ok(Entry::Enter { secret: None, .. })));
    let enter = Settings { seeds: seeds.clone(), ..beyond.clone() };
    assert!(matches!(entry(enter), Ok(Entry::Enter { secret: Some(s), .. }) if s == secret(1)));
    assert!(refused(beyond.clone()).contains("--found"));
    let found = Settings { found: true, ..beyond };
    assert!(matches!(entry(found), Ok(Entry::Found { secret: s, .. }) if s == secret(1)));
    let both = Settings { seeds, found: true, ..base.clone() };
    assert!(refused(both).contains("--seed"));
    assert!(refused(Settings { join: true, ..base.clone() }).contains("--seed"));
    let crowd = Settings { partitions: 64, shards: Some(65), ..base };
    assert!(refused(crowd).contains("65 shards"));
}

#[test]
fn a_members_secret_is_the_kept_one() {
    let folder = tempfile::tempdir().unwrap();
    let base = settings(&folder);
    found(&Settings { cluster_secret: Some(secret(1)), ..base.clone() });
    let kept = |given: Option<Secret>| {
        let settings = Settings { cluster_secret: given, ..base.clone() };
        open(&settings, &[0, 1]).map(|opened| match opened.entry {
            Entry::Member { secret, .. } => secret,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(kept(None), Ok(secret(1)));
    assert_eq!(kept(Some(secret(1))), Ok(secret(1)));
    assert_eq!(kept(Some(secret(2))).unwrap_err().exit, Exit::Usage);
    std::fs::remove_file(folder.path().join("secret")).unwrap();
    assert_eq!(kept(None).unwrap_err().exit, Exit::DataDir);
}

#[test]
fn shards_go_where_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let founded = found(&Settings { partitions: 64, ..settings(&folder) });
    let place = |shards: Option<u16>, cpus: Option<&[u16]>, stored: Option<u16>| {
        let cpus = cpus.map(<[u16]>::to_vec);
        let member = stored.map(|shards| Identity { shards, ..founded.clone() });
        let settings = Settings { shards, cpus, ..Settings::default() };
        place(&settings, &[0, 2, 5], member.as_ref())
            .map(|placement| (placement.shards, placement.cpus))
            .map_err(|failure| failure.exit)
    };
    let all = Some(vec![0, 2, 5]);
    assert_eq!(place(None, None, None), Ok((3, all.clone())));
    assert_eq!(place(Some(3), None, None), Ok((3, all.clone())));
    assert_eq!(place(Some(2), None, None), Ok((2, None)));
    assert_eq!(place(Some(7), None, None), Ok((7, None)));
    assert_eq!(place(None, Some(&[5]), None), Ok((1, Some(vec![5]))));
    assert_eq!(place(None, None, Some(2)), Ok((2, None)));
    assert_eq!(place(None, None, Some(3)), Ok((3, all)));
    assert_eq!(place(None, Some(&[5, 2]), Some(2)), Ok((2, Some(vec![5, 2]))));
    assert_eq!(place(None, Some(&[1]), None), Err(Exit::Usage), "not ours");
    assert_eq!(place(Some(2), None, Some(3)), Ok((2, None)), "re-sharding");
    assert_eq!(place(None, Some(&[0]), Some(3)), Ok((1, Some(vec![0]))), "re-sharding");
    assert_eq!(place(Some(65), None, Some(3)), Err(Exit::Usage), "64 partitions");
}

#[test]
fn a_locked_directory_is_exit_4() {
    let folder = tempfile::tempdir().unwrap();
    let held = open(&settings(&folder), &[0]).unwrap();
    let failure = open(&settings(&folder), &[0]).unwrap_err();
    assert_eq!(failure.exit, Exit::DataDir);
    assert!(failure.to_string().contains(&std::process::id().to_string()), "{failure}");
    drop(held);
}
