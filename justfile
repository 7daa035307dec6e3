sockrates := "target/release/sockrates"

# List the recipes
_default:
    @just --list --unsorted

# Measure a profile, scenario or file (quick: under 3 minutes) and write charts and a report
bench *arguments="quick": build
    {{sockrates}} bench {{arguments}}

# Run every test, and report when all have run
test:
    cargo test --workspace --locked --no-fail-fast

# Check format, lints and documentation
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

# Compare two runs, or two lanes of one run (latest, or --run RUN): B relative to A
compare a b *arguments: build
    {{sockrates}} compare {{a}} {{b}} {{arguments}}

# Measure what the reference measured and check against it (--counts-only: exact counts, in seconds; --work: instructions and system calls, too)
reproduce *arguments: build
    scripts/reproduce {{arguments}}

# Rebuild charts and report of a run
report *run="latest": build
    {{sockrates}} report {{run}}

# Run the target server
serve *arguments: build
    {{sockrates}} serve {{arguments}}

# Measure the parts of the hot path, without the network
microbench *arguments:
    cargo bench --workspace --locked --bench hot_path -- {{arguments}}

# Measure what the instrument itself costs
calibrate *arguments: build
    {{sockrates}} calibrate {{arguments}}

# Test the instrument against what is known, and publish docs/VALIDATION.md (about 12 minutes, on a quiet machine)
validate:
    cargo test --release --locked -p sockrates --features validate --test validate

# Compare the client's cost per operation with wrk's
client-cost *arguments: build
    scripts/client-cost {{arguments}}

# Measure a server of your own: just run http://127.0.0.1:8080/ -c 50 -d 30s
run *arguments: build
    {{sockrates}} run {{arguments}}

# Compare `run` with wrk on nginx: rate, instructions, system calls
against-wrk *arguments: build
    scripts/against-wrk {{arguments}}

# Measure servers in other languages with whole scenarios (installs their libraries under target/)
foreign-targets: build
    scripts/foreign-targets

# Inject every fault of docs/FAULTS.md and hold the program to what is documented (--quick: those under 3 seconds)
faults *arguments: build
    scripts/faults {{arguments}}

# Run the Autobahn test suite against the server and both WebSocket clients
autobahn *arguments: build
    cargo build --release --locked -p sockrates-loadgen --example autobahn
    scripts/autobahn {{arguments}}

# Measure beside slow clients and floods: nobody else's requests fail, and all attackers are shed (--quick: seconds)
under-attack *arguments: build
    scripts/under-attack {{arguments}}

# Measure for long and watch memory, descriptors and drift: just soak 3m
soak *arguments="30m": build
    scripts/soak {{arguments}}

# Compare with wrk and h2load, known delays, real clients and real servers
cross-check *arguments: build
    scripts/cross-check {{arguments}}

# Check licences, sources and doubled versions of all dependencies
deny:
    scripts/deny

# Fuzz one parser for ten minutes (needs a nightly toolchain and `cargo install cargo-fuzz --locked`): just fuzz websocket
fuzz target seconds="600":
    mkdir -p fuzz/target/corpus/{{target}}
    cargo +nightly fuzz run {{target}} fuzz/target/corpus/{{target}} fuzz/corpus/{{target}} -- -max_total_time={{seconds}} -rss_limit_mb=1024 -timeout=10

# Count the server's instructions for one delivered copy of an event or message
delivery-cost: build
    scripts/delivery-cost

# Delete all runs but one named reference
clean-results:
    find bench-results -mindepth 1 -maxdepth 1 ! -name reference ! -name README.md ! -name .gitignore -exec rm -rf {} +

# Build the release binary
build:
    cargo build --release --locked
