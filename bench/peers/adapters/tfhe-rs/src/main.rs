//! An adapter of 'tacit bench' for tfhe-rs, with its default parameters on as many
//! threads as the set-up says. README.md two folders above describes the protocol.

mod decimal;

use std::io::{self, BufRead, Write};
use std::time::Instant;

use rayon::prelude::*;
use serde_json::{json, Value};
use tfhe::integer::U256;
use tfhe::prelude::*;
use tfhe::safe_serialization::{safe_deserialize, safe_serialize};
use tfhe::{set_server_key, ClientKey, CompressedFheBool, CompressedServerKey, ConfigBuilder, FheBool, ServerKey};

/// The operations on two integers or on a boolean and two, and the transfer. Sizes
/// are widths in bits.
const WORKLOADS: [&str; 12] = [
    "integer-add", "integer-sub", "integer-mul", "integer-div", "integer-eq", "integer-lt",
    "integer-min", "integer-and", "integer-xor", "integer-shl", "integer-select", "transfer",
];

/// No object on the wire is larger, in bytes.
const LIMIT: u64 = 1 << 32;

/// An integer of 256 bits: its low and its high half.
type Wide = (u128, u128);

macro_rules! bytes_of {
    ($object:expr) => {{
        let mut bytes = Vec::new();
        safe_serialize(&$object, &mut bytes, LIMIT).map_err(|e| e.to_string())?;
        bytes
    }};
}

/// What a set-up made. The client key is used for encryption and decryption alone.
struct Session {
    client: ClientKey,
    pool: rayon::ThreadPool, // its threads have the server key
    workload: String,
    size: u64,
}

#[derive(Default)]
struct Outcome {
    results: Vec<Vec<Wide>>,
    encrypt: f64,
    compute: f64,
    decrypt: f64,
    request: usize,
    response: usize,
}

/// The programs on integers of one width.
macro_rules! width {
    ($name:ident, $int:ident, $compressed:ident, $narrow:expr, $clear:ty, $wide:expr) => {
        mod $name {
            use super::*;
            use tfhe::{$compressed, $int};

            enum Output {
                Int($int),
                Bool(FheBool),
            }
            use Output::{Bool, Int};

            fn compute(workload: &str, flags: &[FheBool], v: &[$int]) -> Result<Vec<Output>, String> {
                Ok(vec![match workload {
                    "integer-add" => Int(&v[0] + &v[1]),
                    "integer-sub" => Int(&v[0] - &v[1]),
                    "integer-mul" => Int(&v[0] * &v[1]),
                    "integer-div" => Int(&v[0] / &v[1]),
                    "integer-eq" => Bool(v[0].eq(&v[1])),
                    "integer-lt" => Bool(v[0].lt(&v[1])),
                    "integer-min" => Int(v[0].min(&v[1])),
                    "integer-and" => Int(&v[0] & &v[1]),
                    "integer-xor" => Int(&v[0] ^ &v[1]),
                    "integer-shl" => Int(&v[0] << &v[1]),
                    "integer-select" => Int(flags[0].select(&v[0], &v[1])),
                    "transfer" => {
                        let (from, to, amount) = (&v[0], &v[1], &v[2]);
                        let covered = from.ge(amount);
                        let (less, more) = rayon::join(|| covered.select(&(from - amount), from), || covered.select(&(to + amount), to));
                        return Ok(vec![Int(less), Int(more), Bool(covered)]);
                    }
                    _ => return Err(format!("there is no program {workload}")),
                }])
            }

            pub fn run(s: &Session, items: &[Vec<Wide>]) -> Result<Outcome, String> {
                let mut out = Outcome::default();
                let first = usize::from(s.workload == "integer-select"); // of the integers, booleans come before them
                let start = Instant::now();
                let mut sent = Vec::new();
                for item in items {
                    let mut flags = Vec::new();
                    for x in &item[..first] {
                        flags.push(bytes_of!(CompressedFheBool::encrypt(x.0 == 1, &s.client)));
                    }
                    let mut ints = Vec::new();
                    for x in &item[first..] {
                        ints.push(bytes_of!($compressed::encrypt($narrow(*x), &s.client)));
                    }
                    out.request += flags.iter().chain(&ints).map(Vec::len).sum::<usize>();
                    sent.push((flags, ints));
                }
                out.encrypt = start.elapsed().as_secs_f64();

                let mut loaded = Vec::new();
                for (flags, ints) in &sent {
                    let mut inputs = (Vec::new(), Vec::new());
                    for bytes in flags {
                        let c: CompressedFheBool = safe_deserialize(bytes.as_slice(), LIMIT).map_err(|e| e.to_string())?;
                        inputs.0.push(c.decompress());
                    }
                    for bytes in ints {
                        let c: $compressed = safe_deserialize(bytes.as_slice(), LIMIT).map_err(|e| e.to_string())?;
                        inputs.1.push(c.decompress());
                    }
                    loaded.push(inputs);
                }
                let start = Instant::now();
                let computed: Vec<Result<Vec<Output>, String>> =
                    s.pool.install(|| loaded.par_iter().map(|(flags, ints)| compute(&s.workload, flags, ints)).collect());
                out.compute = start.elapsed().as_secs_f64();

                let mut received = Vec::new();
                for item in computed {
                    let mut one = Vec::new();
                    for c in item? {
                        one.push(match c {
                            Int(c) => (false, bytes_of!(c)),
                            Bool(c) => (true, bytes_of!(c)),
                        });
                    }
                    out.response += one.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
                    received.push(one);
                }
                let start = Instant::now();
                for item in &received {
                    let mut one = Vec::new();
                    for (boolean, bytes) in item {
                        one.push(if *boolean {
                            let c: FheBool = safe_deserialize(bytes.as_slice(), LIMIT).map_err(|e| e.to_string())?;
                            (u128::from(c.decrypt(&s.client)), 0)
                        } else {
                            let c: $int = safe_deserialize(bytes.as_slice(), LIMIT).map_err(|e| e.to_string())?;
                            let x: $clear = c.decrypt(&s.client);
                            $wide(x)
                        });
                    }
                    out.results.push(one);
                }
                out.decrypt = start.elapsed().as_secs_f64();
                Ok(out)
            }
        }
    };
}

width!(w8, FheUint8, CompressedFheUint8, |x: Wide| x.0 as u8, u8, |x| (u128::from(x), 0));
width!(w16, FheUint16, CompressedFheUint16, |x: Wide| x.0 as u16, u16, |x| (u128::from(x), 0));
width!(w32, FheUint32, CompressedFheUint32, |x: Wide| x.0 as u32, u32, |x| (u128::from(x), 0));
width!(w64, FheUint64, CompressedFheUint64, |x: Wide| x.0 as u64, u64, |x| (u128::from(x), 0));
width!(w128, FheUint128, CompressedFheUint128, |x: Wide| x.0, u128, |x| (x, 0));
width!(w256, FheUint256, CompressedFheUint256, |x: Wide| U256::from(x), U256, |x: U256| x.to_low_high_u128());

fn describe() -> Value {
    json!({"protocol": 1, "library": "tfhe-rs", "version": "1.7.0", "build": "native",
           "schemes": [{"scheme": "tfhe", "workloads": WORKLOADS}]})
}

fn setup(request: &Value) -> Result<(Session, Value), String> {
    let threads = request["threads"].as_u64().ok_or("no threads")? as usize;
    let start = Instant::now();
    let client = ClientKey::generate(ConfigBuilder::default().build());
    let compressed = CompressedServerKey::new(&client);
    let keygen = start.elapsed().as_secs_f64();

    let wire = bytes_of!(compressed);
    let received: CompressedServerKey = safe_deserialize(wire.as_slice(), LIMIT).map_err(|e| e.to_string())?;
    let server: ServerKey = received.decompress();
    let memory = bytes_of!(server).len();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())?;
    pool.broadcast(|_| set_server_key(server.clone()));
    let answer = json!({
        "set": "default-2m2c", "security_bits": 128, "assumption": "128 bits: tfhe-rs's default parameters", "failure_log2": -128,
        "description": "ConfigBuilder::default(): blocks of 2 bits with 2 carry bits", "threads": threads, "keygen_seconds": keygen,
        "evaluation_key_bytes": wire.len(), "evaluation_key_memory_bytes": memory, "public_key_bytes": 0, "capacity": threads,
    });
    let workload = request["workload"].as_str().ok_or("no workload")?.to_string();
    let size = request["size"].as_u64().ok_or("no size")?;
    Ok((Session { client, pool, workload, size }, answer))
}

fn run(s: &Session, request: &Value) -> Result<Value, String> {
    let mut items = Vec::new();
    for item in request["items"].as_array().ok_or("no items")? {
        let numbers = item.as_array().ok_or("an item is no list")?.iter();
        items.push(numbers.map(|x| decimal::parse(x.as_str().unwrap_or(""))).collect::<Result<Vec<_>, _>>()?);
    }
    let out = match s.size {
        8 => w8::run(s, &items),
        16 => w16::run(s, &items),
        32 => w32::run(s, &items),
        64 => w64::run(s, &items),
        128 => w128::run(s, &items),
        256 => w256::run(s, &items),
        n => Err(format!("there are no integers of {n} bits")),
    }?;
    let results: Vec<Vec<String>> = out.results.iter().map(|item| item.iter().map(|x| decimal::format(*x)).collect()).collect();
    Ok(json!({"results": results, "seconds": {"encrypt": out.encrypt, "compute": out.compute, "decrypt": out.decrypt},
              "request_bytes": out.request, "response_bytes": out.response, "bootstraps": 0}))
}

fn main() -> io::Result<()> {
    let mut session = None;
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?).unwrap_or(Value::Null);
        let answer = match (request["command"].as_str(), &session) {
            (Some("describe"), _) => Ok(describe()),
            (Some("setup"), _) => {
                session = None; // before there are two sets of keys
                setup(&request).map(|(made, answer)| {
                    session = Some(made);
                    answer
                })
            }
            (Some("run"), Some(s)) => run(s, &request),
            (Some("run"), None) => Err("no set-up".to_string()),
            _ => Err("there is no such command".to_string()),
        };
        println!("{}", answer.unwrap_or_else(|e| json!({"error": e})));
        io::stdout().flush()?;
    }
    Ok(())
}
