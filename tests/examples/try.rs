use postern_proto::*;
use postern_tests::raw::*;
use std::time::Instant;
fn main() {
    let a = Address::Unix(std::env::args().nth(1).unwrap().into());
    let mut c = Raw::control(&a).unwrap();
    println!("{:?}", c.hello);
    let t = Instant::now();
    if let Some(p) = std::env::args().nth(2) {
        load_image(&a, &mut c, p.as_ref()).unwrap();
        println!("image {:?}", t.elapsed());
    }
    let run = |c: &mut Raw, i: usize, cmd: &str| {
        c.ask(&Request::Exec(Box::new(Exec {
            command_id: format!("c{i}-{}", std::process::id()),
            argv: ["/bin/sh", "-c", cmd]
                .iter()
                .map(|s| bytes::Bytes::from(s.to_string()))
                .collect(),
            wait: true,
            lossless: true,
            inline_limit: 65536,
            ..Default::default()
        })))
        .unwrap()
    };
    for (i, cmd) in ["echo hello; id; pwd; env; ls -la /; ps; mount; ls -la /dev /proc/self/fd; cat /proc/self/cgroup", "exit 3", "kill -9 $$", "sleep 2 & echo x; exit 7"].iter().enumerate() {
        let t = Instant::now();
        let r = run(&mut c, i, cmd);
        match r { Ok(Reply::Exec(r)) => { for o in &r.output { println!("{:?}: {}", o.stream, String::from_utf8_lossy(&o.data)); } println!("{:?} held={} closed={} {:?}", r.command.state, r.command.held_open, r.command.closed, t.elapsed()); } o => println!("{o:?}") }
    }
    println!(
        "{:?}",
        c.ask(&Request::Exec(Box::new(Exec {
            command_id: "nope".into(),
            argv: vec!["nosuch".into()],
            wait: true,
            ..Default::default()
        })))
        .unwrap()
    );
    println!("{:?}", c.ask(&Request::GetInfo).unwrap());
    let n = 2000;
    let mut v = vec![];
    for i in 0..n {
        let t = Instant::now();
        c.ask(&Request::Exec(Box::new(Exec {
            command_id: format!("b{i}-{}", std::process::id()),
            argv: vec!["/bin/true".into()],
            wait: true,
            inline_limit: 65536,
            ..Default::default()
        })))
        .unwrap()
        .unwrap();
        v.push(t.elapsed());
    }
    v.sort();
    println!("true p50 {:?} p99 {:?}", v[n / 2], v[n * 99 / 100]);
    let mut v = vec![];
    for _ in 0..n {
        let t = Instant::now();
        c.ask(&Request::Ping).unwrap().unwrap();
        v.push(t.elapsed());
    }
    v.sort();
    println!("ping p50 {:?} p99 {:?}", v[n / 2], v[n * 99 / 100]);
    // bulk
    c.ask(&Request::Exec(Box::new(Exec {
        command_id: "bulk".into(),
        argv: ["/bin/sh", "-c", "head -c 2147483648 /dev/zero"]
            .iter()
            .map(|s| bytes::Bytes::from(s.to_string()))
            .collect(),
        lossless: true,
        ..Default::default()
    })))
    .unwrap()
    .unwrap();
    let t = Instant::now();
    let (mut s, r) = Raw::stream(
        &a,
        &StreamOpen::Follow(Follow {
            command_id: "bulk".into(),
            lossless: true,
            until_exit: true,
            ..Default::default()
        }),
    )
    .unwrap();
    println!("{r:?}");
    let mut total = 0u64;
    loop {
        match s.item().unwrap() {
            Item::Data(h, p) => {
                assert_eq!(h.offset, total);
                total += p.len() as u64
            }
            Item::End(e) => {
                println!("{e:?}");
                break;
            }
            o => println!("{o:?}"),
        }
    }
    println!(
        "bulk {} in {:?} = {:.2} GB/s",
        total,
        t.elapsed(),
        total as f64 / t.elapsed().as_secs_f64() / 1e9
    );
}
