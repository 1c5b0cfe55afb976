//! What is asked of `latency-monitor trace`, beside the flags that are settings.

/// The arguments of `latency-monitor trace`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct TraceRequest {
    /// An address or a name; nothing of ours need run there
    #[arg(value_name = "HOST")]
    pub host: String,
    /// From so many source ports, each perhaps on another path
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub flows: u16,
    /// The greatest TTL that is sent
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub max_hops: u8,
    /// Print the events `path` as lines of JSON
    #[arg(long)]
    pub json: bool,
}
