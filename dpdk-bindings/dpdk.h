/* What build.rs generates bindings from. rte_config.h comes first, by compiler flag, as DPDK asks for. */

#include <stdio.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_epoll.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_lpm.h>
#include <rte_lpm6.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_pdump.h>
#include <rte_vect.h>
#include <rte_version.h>

/* rte_errno is a macro over a thread-local variable, which stable Rust cannot name. */
static inline int
dpdk_errno(void)
{
	return rte_errno;
}

/* The look-up of four addresses (host byte order) with SSE, which is inline C, over a whole burst; `hops` gets 0 where
 * there is no route. */
static inline void
dpdk_lpm_lookup_x4_burst(const struct rte_lpm *lpm, const uint32_t *addresses, uint32_t *hops, unsigned int count)
{
	unsigned int i = 0;

	for (; i + 4 <= count; i += 4) {
		xmm_t four = _mm_loadu_si128((const xmm_t *)(addresses + i));

		rte_lpm_lookupx4(lpm, four, hops + i, 0);
	}
	for (; i < count; i++)
		if (rte_lpm_lookup(lpm, addresses[i], hops + i) != 0)
			hops[i] = 0;
}

/* Hash input for receive side scaling; the macros expand to shifts that bindgen does not evaluate. */
static const uint64_t DPDK_RSS_IP_UDP_TCP = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP;

/* Bytes of a mempool's name with its terminator; the macro is made of sizeof, which bindgen does not evaluate. */
static const uint32_t DPDK_MEMPOOL_NAMESIZE = RTE_MEMPOOL_NAMESIZE;

/* The version that the bindings are of; rte_version() is an inline function that formats it anew each time. */
static const uint32_t DPDK_VERSION_YEAR = RTE_VER_YEAR;
static const uint32_t DPDK_VERSION_MONTH = RTE_VER_MONTH;
static const uint32_t DPDK_VERSION_MINOR = RTE_VER_MINOR;
