//! Which vector instructions the processor has. Asked once, when a table is made; the program itself runs on any x86-64
//! that DPDK runs on.

/// The forms that code here is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simd {
    /// Nothing beyond x86-64.
    Baseline,
    /// x86-64-v3: bit counts, shifts by any register, AVX2.
    Avx2,
    /// AVX-512 F, BW, VL and VPOPCNTDQ: Ice Lake, Zen 4 and later.
    Avx512,
}

impl Simd {
    /// The best that this processor has.
    pub fn detect() -> Simd {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vpopcntdq");
        match (avx2, avx512) {
            (true, true) => Simd::Avx512,
            (true, false) => Simd::Avx2,
            _ => Simd::Baseline,
        }
    }

    /// All forms that this processor can run, the simplest first.
    pub fn available() -> impl Iterator<Item = Simd> {
        let best = Simd::detect();
        [Simd::Baseline, Simd::Avx2, Simd::Avx512].into_iter().filter(move |form| *form <= best)
    }
}
