/* SPDX-License-Identifier: Apache-2.0 OR MIT */

/*
 * net_lean: a virtual port for measurements that costs as little as a good driver of a NIC does.
 *
 * It receives the frames of a capture file over and over, each in a fresh mbuf, and frees what is sent. Beyond copying the
 * frame it does per packet what the vector paths of real drivers do: one bulk allocation a burst, two stores into the mbuf.
 *
 *   frames=FILE        a pcap file of Ethernet frames, 14 to 1518 bytes each without the checksum; none: nothing is received
 *   destinations=FILE  IPv4 addresses, 4 bytes each in network byte order. The n-th packet goes to the n-th of them, whatever
 *                      frame it is made of; its header checksum is right. All frames must be UDP over IPv4 then; they lose
 *                      their UDP checksum (RFC 768: none)
 *   counters=FILE      what is counted is in this file while the port lives: struct lean_counters
 *
 * Up to 16 queues each way; a receive queue begins its share of the frames and destinations after the one before it.
 *
 * Checksum offloads and packet types are offered, as programs written for NICs ask for them. Packet types are told;
 * the checksum of what is received is always said to be unknown.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bus_vdev_driver.h>
#include <ethdev_driver.h>
#include <ethdev_vdev.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_kvargs.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_memcpy.h>
#include <rte_udp.h>
#include <rte_vect.h>

#define LEAN_QUEUES 16
#define LEAN_FRAME_MIN 14
#define LEAN_FRAME_MAX 1518
#define LEAN_BLOCK 64
#define LEAN_MAX_FILE (64u << 20)
#define LEAN_MAGIC UINT64_C(0x316e61656c74656e) /* "netlean1" in memory */

RTE_LOG_REGISTER(lean_logtype, pmd.net.lean, NOTICE);
#define LEAN_ERR(...) rte_log(RTE_LOG_ERR, lean_logtype, "net_lean: " __VA_ARGS__)

/* What one queue counted: a cache line that its lcore alone writes. */
struct lean_count {
	uint64_t packets;
	uint64_t bytes;
	/* Received: bursts for which there were no mbufs. Sent: packets that could not be freed together. */
	uint64_t exceptions;
} __rte_aligned(LEAN_BLOCK);

/* The counters file. */
struct lean_counters {
	uint64_t magic;
	struct lean_count rx[LEAN_QUEUES];
	struct lean_count tx[LEAN_QUEUES];
} __rte_aligned(LEAN_BLOCK);

/* What is known of a frame beforehand. */
struct lean_frame {
	/* As it goes into the mbuf, from packet_type to the hash. */
	__m128i descriptor;
	/* Sum of the IPv4 header without its checksum and destination. */
	uint32_t sum;
	/* Blocks of 64 bytes to copy. */
	uint32_t blocks;
} __rte_aligned(32);

/* Frames and destinations, read by all receive queues. */
struct lean_stream {
	const uint8_t *bytes;
	const struct lean_frame *frames;
	const uint32_t *destinations;
	uint32_t frame_count;
	uint32_t destination_count;
	/* From one frame to the next, in bytes. */
	uint32_t stride;
};

struct lean_rx_queue {
	struct lean_stream stream;
	struct rte_mempool *pool;
	struct lean_count *count;
	/* As it goes into each mbuf, from data_off to ol_flags. */
	__m128i rearm;
	uint32_t next_frame;
	uint32_t next_destination;
} __rte_cache_aligned;

struct lean_tx_queue {
	struct lean_count *count;
} __rte_cache_aligned;

struct lean_port {
	struct lean_rx_queue rx[LEAN_QUEUES];
	struct lean_tx_queue tx[LEAN_QUEUES];
	struct lean_stream stream;
	uint32_t longest;
	struct lean_counters *counters;
	/* Where the counters are in no file. */
	struct lean_counters own_counters;
	/* What was counted when statistics were last reset. */
	struct lean_counters before;
	struct rte_ether_addr mac;
};

/*
 * Copies the first block of a frame with another destination and the checksum (RFC 1071) that goes with it. Both are put in on
 * the way, so that what reads them finds them in the store that wrote them.
 */
static __rte_always_inline void
lean_copy_addressed(uint8_t *to, const uint8_t *from, uint32_t sum, uint32_t destination)
{
	__m128i second = _mm_load_si128((const __m128i *)(from + 16));
	__m128i third = _mm_load_si128((const __m128i *)(from + 32));

	sum += (destination & 0xffff) + (destination >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	/* The checksum is at 24, the destination from 30 to 33. */
	second = _mm_insert_epi16(second, (int)(~sum & 0xffff), 4);
	second = _mm_insert_epi16(second, (int)(destination & 0xffff), 7);
	third = _mm_insert_epi16(third, (int)(destination >> 16), 0);
	rte_mov16(to, from);
	_mm_storeu_si128((__m128i *)(to + 16), second);
	_mm_storeu_si128((__m128i *)(to + 32), third);
	rte_mov16(to + 48, from + 48);
}

/* `one_block`: no frame is longer than a block. `addressed`: destinations are written. Both are constants where it is inlined. */
static __rte_always_inline uint16_t
lean_receive(struct lean_rx_queue *queue, struct rte_mbuf **mbufs, uint16_t count, bool one_block, bool addressed)
{
	const struct lean_stream *stream = &queue->stream;
	const __m128i rearm = queue->rearm;
	uint32_t frame = queue->next_frame, destination = queue->next_destination;
	uint64_t bytes = 0;
	uint16_t i;

	if (unlikely(rte_mempool_get_bulk(queue->pool, (void **)mbufs, count) != 0)) {
		queue->count->exceptions++;
		return 0;
	}
	for (i = 0; i < count; i++) {
		struct rte_mbuf *mbuf = mbufs[i];
		const struct lean_frame *known = &stream->frames[frame];
		const uint8_t *from = stream->bytes + (size_t)frame * (one_block ? LEAN_BLOCK : stream->stride);
		uint8_t *to = (uint8_t *)mbuf->buf_addr + RTE_PKTMBUF_HEADROOM;
		const __m128i descriptor = known->descriptor;
		uint32_t block;

		/* Mbufs in a pool have one segment and no next one: the rest of the header may stay as it is. */
		_mm_store_si128((__m128i *)&mbuf->rearm_data, rearm);
		_mm_store_si128((__m128i *)&mbuf->rx_descriptor_fields1, descriptor);
		bytes += (uint32_t)_mm_extract_epi32(descriptor, 1);
		if (addressed) {
			lean_copy_addressed(to, from, known->sum, stream->destinations[destination]);
			if (unlikely(++destination == stream->destination_count))
				destination = 0;
		} else {
			rte_mov64(to, from);
		}
		if (!one_block)
			for (block = 1; block < known->blocks; block++)
				rte_mov64(to + block * LEAN_BLOCK, from + block * LEAN_BLOCK);
		if (unlikely(++frame == stream->frame_count))
			frame = 0;
	}
	queue->next_frame = frame;
	queue->next_destination = destination;
	queue->count->packets += count;
	queue->count->bytes += bytes;
	return count;
}

static uint16_t
lean_rx_nothing(void *queue __rte_unused, struct rte_mbuf **mbufs __rte_unused, uint16_t count __rte_unused)
{
	return 0;
}

static uint16_t
lean_rx_short(void *queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return lean_receive(queue, mbufs, count, true, false);
}

static uint16_t
lean_rx_short_addressed(void *queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return lean_receive(queue, mbufs, count, true, true);
}

static uint16_t
lean_rx_long(void *queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return lean_receive(queue, mbufs, count, false, false);
}

static uint16_t
lean_rx_long_addressed(void *queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return lean_receive(queue, mbufs, count, false, true);
}

/* Frees the burst at once where all its packets are one mbuf each that nobody else has, of one pool; else one by one. */
static uint16_t
lean_tx(void *opaque, struct rte_mbuf **mbufs, uint16_t count)
{
	struct lean_count *counted = ((struct lean_tx_queue *)opaque)->count;
	struct rte_mempool *pool;
	uint64_t bytes = 0;
	bool plain = true;
	uint16_t i;

	if (unlikely(count == 0))
		return 0;
	pool = mbufs[0]->pool;
	for (i = 0; i < count; i++) {
		const struct rte_mbuf *mbuf = mbufs[i];

		bytes += mbuf->pkt_len;
		plain &= (mbuf->pool == pool) & (rte_mbuf_refcnt_read(mbuf) == 1) & (mbuf->nb_segs == 1) &
			 (mbuf->next == NULL) & RTE_MBUF_DIRECT(mbuf);
	}
	if (likely(plain)) {
		rte_mempool_put_bulk(pool, (void **)mbufs, count);
	} else {
		rte_pktmbuf_free_bulk(mbufs, count);
		counted->exceptions += count;
	}
	counted->packets += count;
	counted->bytes += bytes;
	return count;
}

static int
lean_configure(struct rte_eth_dev *device __rte_unused)
{
	return 0;
}

static void
lean_queue_states(struct rte_eth_dev *device, uint8_t state)
{
	uint16_t queue;

	for (queue = 0; queue < device->data->nb_rx_queues; queue++)
		device->data->rx_queue_state[queue] = state;
	for (queue = 0; queue < device->data->nb_tx_queues; queue++)
		device->data->tx_queue_state[queue] = state;
}

static int
lean_start(struct rte_eth_dev *device)
{
	lean_queue_states(device, RTE_ETH_QUEUE_STATE_STARTED);
	device->data->dev_link.link_status = RTE_ETH_LINK_UP;
	return 0;
}

static int
lean_stop(struct rte_eth_dev *device)
{
	lean_queue_states(device, RTE_ETH_QUEUE_STATE_STOPPED);
	device->data->dev_link.link_status = RTE_ETH_LINK_DOWN;
	return 0;
}

static int
lean_rx_queue_setup(struct rte_eth_dev *device, uint16_t index, uint16_t descriptors __rte_unused,
		    unsigned int socket __rte_unused, const struct rte_eth_rxconf *conf __rte_unused,
		    struct rte_mempool *pool)
{
	struct lean_port *port = device->data->dev_private;
	struct lean_rx_queue *queue = &port->rx[index];
	uint32_t queues = RTE_MAX(device->data->nb_rx_queues, 1);
	uint32_t needed = RTE_PKTMBUF_HEADROOM + RTE_ALIGN_CEIL(port->longest, LEAN_BLOCK);
	struct rte_mbuf fresh;

	if (rte_pktmbuf_data_room_size(pool) < needed) {
		LEAN_ERR("its frames of up to %u bytes need mbufs of %u bytes, those of pool %s have %u\n", port->longest,
			 needed, pool->name, rte_pktmbuf_data_room_size(pool));
		return -EINVAL;
	}
	memset(&fresh, 0, sizeof(fresh));
	fresh.data_off = RTE_PKTMBUF_HEADROOM;
	fresh.refcnt = 1;
	fresh.nb_segs = 1;
	fresh.port = device->data->port_id;
	memcpy(&queue->rearm, &fresh.rearm_data, sizeof(queue->rearm));
	queue->stream = port->stream;
	queue->pool = pool;
	queue->count = &port->counters->rx[index];
	queue->next_frame = (uint64_t)port->stream.frame_count * index / queues;
	queue->next_destination = (uint64_t)port->stream.destination_count * index / queues;
	device->data->rx_queues[index] = queue;
	return 0;
}

static int
lean_tx_queue_setup(struct rte_eth_dev *device, uint16_t index, uint16_t descriptors __rte_unused,
		    unsigned int socket __rte_unused, const struct rte_eth_txconf *conf __rte_unused)
{
	struct lean_port *port = device->data->dev_private;

	port->tx[index].count = &port->counters->tx[index];
	device->data->tx_queues[index] = &port->tx[index];
	return 0;
}

static int
lean_info(struct rte_eth_dev *device __rte_unused, struct rte_eth_dev_info *info)
{
	info->max_mac_addrs = 1;
	info->min_mtu = RTE_ETHER_MIN_MTU;
	info->max_mtu = 9600;
	info->max_rx_pktlen = 9600 + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
	info->max_rx_queues = LEAN_QUEUES;
	info->max_tx_queues = LEAN_QUEUES;
	info->rx_offload_capa = RTE_ETH_RX_OFFLOAD_CHECKSUM;
	info->tx_offload_capa = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	info->flow_type_rss_offloads = RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP;
	return 0;
}

static const uint32_t *
lean_packet_types(struct rte_eth_dev *device __rte_unused)
{
	static const uint32_t types[] = {
		RTE_PTYPE_L2_ETHER, RTE_PTYPE_L3_IPV4, RTE_PTYPE_L3_IPV6, RTE_PTYPE_L4_UDP, RTE_PTYPE_UNKNOWN,
	};

	return types;
}

static int
lean_stats(struct rte_eth_dev *device, struct rte_eth_stats *stats)
{
	const struct lean_port *port = device->data->dev_private;
	const struct lean_counters *now = port->counters, *then = &port->before;
	int i;

	for (i = 0; i < LEAN_QUEUES; i++) {
		uint64_t received = now->rx[i].packets - then->rx[i].packets;
		uint64_t sent = now->tx[i].packets - then->tx[i].packets;
		uint64_t bytes_in = now->rx[i].bytes - then->rx[i].bytes;
		uint64_t bytes_out = now->tx[i].bytes - then->tx[i].bytes;

		stats->ipackets += received;
		stats->ibytes += bytes_in;
		stats->opackets += sent;
		stats->obytes += bytes_out;
		stats->rx_nombuf += now->rx[i].exceptions - then->rx[i].exceptions;
		if (i < RTE_ETHDEV_QUEUE_STAT_CNTRS) {
			stats->q_ipackets[i] = received;
			stats->q_ibytes[i] = bytes_in;
			stats->q_opackets[i] = sent;
			stats->q_obytes[i] = bytes_out;
		}
	}
	return 0;
}

/* Lcores alone write what they count. */
static int
lean_stats_reset(struct rte_eth_dev *device)
{
	struct lean_port *port = device->data->dev_private;

	port->before = *port->counters;
	return 0;
}

static int
lean_link(struct rte_eth_dev *device __rte_unused, int wait __rte_unused)
{
	return 0;
}

/* It takes everything in as it is. */
static int
lean_accept(struct rte_eth_dev *device __rte_unused)
{
	return 0;
}

static int
lean_mac_set(struct rte_eth_dev *device __rte_unused, struct rte_ether_addr *mac __rte_unused)
{
	return 0;
}

static int
lean_mtu_set(struct rte_eth_dev *device __rte_unused, uint16_t mtu __rte_unused)
{
	return 0;
}

static void
lean_release(struct lean_port *port)
{
	rte_free((void *)(uintptr_t)port->stream.bytes);
	rte_free((void *)(uintptr_t)port->stream.frames);
	rte_free((void *)(uintptr_t)port->stream.destinations);
	memset(&port->stream, 0, sizeof(port->stream));
	if (port->counters != &port->own_counters)
		munmap(port->counters, sizeof(*port->counters));
	port->counters = &port->own_counters;
}

static int
lean_close(struct rte_eth_dev *device)
{
	lean_release(device->data->dev_private);
	/* It is part of what ethdev frees next. */
	device->data->mac_addrs = NULL;
	return 0;
}

static const struct eth_dev_ops lean_operations = {
	.dev_configure = lean_configure,
	.dev_start = lean_start,
	.dev_stop = lean_stop,
	.dev_close = lean_close,
	.dev_infos_get = lean_info,
	.dev_supported_ptypes_get = lean_packet_types,
	.rx_queue_setup = lean_rx_queue_setup,
	.tx_queue_setup = lean_tx_queue_setup,
	.stats_get = lean_stats,
	.stats_reset = lean_stats_reset,
	.link_update = lean_link,
	.promiscuous_enable = lean_accept,
	.promiscuous_disable = lean_accept,
	.allmulticast_enable = lean_accept,
	.allmulticast_disable = lean_accept,
	.mac_addr_set = lean_mac_set,
	.mtu_set = lean_mtu_set,
};

/* Reads a file of at most 64 MB. What is returned is to be freed with rte_free. */
static uint8_t *
lean_read(const char *path, size_t *length)
{
	uint8_t *bytes = NULL;
	struct stat status;
	FILE *file = fopen(path, "rb");

	if (file == NULL || fstat(fileno(file), &status) != 0) {
		LEAN_ERR("%s cannot be read: %s\n", path, strerror(errno));
	} else if (!S_ISREG(status.st_mode) || status.st_size <= 0 || status.st_size > LEAN_MAX_FILE) {
		LEAN_ERR("%s has to be a file of 1 byte to 64 MB\n", path);
	} else {
		bytes = rte_malloc(NULL, status.st_size, LEAN_BLOCK);
		if (bytes == NULL) {
			LEAN_ERR("no memory for the %lld bytes of %s\n", (long long)status.st_size, path);
		} else if (fread(bytes, status.st_size, 1, file) != 1) {
			LEAN_ERR("%s cannot be read to its end\n", path);
			rte_free(bytes);
			bytes = NULL;
		}
		*length = status.st_size;
	}
	if (file != NULL)
		fclose(file);
	return bytes;
}

/* One packet of a capture file. */
struct lean_record {
	const uint8_t *bytes;
	uint32_t length;
};

/*
 * The packet at `*position`, which moves behind it. False at the end of the file, and where it is wrong: `*problem` says what
 * is. The format: draft-ietf-opsawg-pcap, 4 and 5.
 */
static bool
lean_next(const uint8_t *file, size_t length, size_t *position, struct lean_record *record, const char **problem)
{
	const size_t header = 24, record_header = 16;
	uint32_t magic, captured, original, link;
	bool swapped;

	if (length < header) {
		*problem = "is shorter than the header of a capture file";
		return false;
	}
	memcpy(&magic, file, sizeof(magic));
	swapped = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1;
	if (!swapped && magic != 0xa1b2c3d4 && magic != 0xa1b23c4d) {
		*problem = "is no capture file in the pcap format";
		return false;
	}
	memcpy(&link, file + 20, sizeof(link));
	if (((swapped ? rte_bswap32(link) : link) & 0xffff) != 1) {
		*problem = "has no Ethernet frames";
		return false;
	}
	if (*position == 0)
		*position = header;
	if (*position == length)
		return false;
	if (length - *position < record_header) {
		*problem = "ends in the middle of a packet's header";
		return false;
	}
	memcpy(&captured, file + *position + 8, sizeof(captured));
	memcpy(&original, file + *position + 12, sizeof(original));
	if (swapped) {
		captured = rte_bswap32(captured);
		original = rte_bswap32(original);
	}
	*position += record_header;
	if (captured < LEAN_FRAME_MIN || captured > LEAN_FRAME_MAX) {
		*problem = "has a frame that is not of 14 to 1518 bytes";
		return false;
	}
	if (captured != original) {
		*problem = "has a frame that was cut off when it was captured";
		return false;
	}
	if (captured > length - *position) {
		*problem = "ends in the middle of a frame";
		return false;
	}
	record->bytes = file + *position;
	record->length = captured;
	*position += captured;
	return true;
}

/* What a driver says of the type of a frame. */
static uint32_t
lean_packet_type(const uint8_t *frame, uint32_t length)
{
	const struct rte_ether_hdr *ethernet = (const struct rte_ether_hdr *)frame;
	const uint8_t *packet = frame + RTE_ETHER_HDR_LEN;
	uint32_t left = length - RTE_ETHER_HDR_LEN;

	if (ethernet->ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4) && left >= sizeof(struct rte_ipv4_hdr)) {
		const struct rte_ipv4_hdr *ip = (const struct rte_ipv4_hdr *)packet;
		uint32_t type = RTE_PTYPE_L2_ETHER | RTE_PTYPE_L3_IPV4;

		return ip->version_ihl == 0x45 && ip->next_proto_id == IPPROTO_UDP ? type | RTE_PTYPE_L4_UDP : type;
	}
	if (ethernet->ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV6) && left >= sizeof(struct rte_ipv6_hdr)) {
		const struct rte_ipv6_hdr *ip = (const struct rte_ipv6_hdr *)packet;
		uint32_t type = RTE_PTYPE_L2_ETHER | RTE_PTYPE_L3_IPV6;

		return ip->proto == IPPROTO_UDP ? type | RTE_PTYPE_L4_UDP : type;
	}
	return RTE_PTYPE_L2_ETHER;
}

/* Prepares a frame of UDP over IPv4 for destinations; false where it is none. */
static bool
lean_prepare(uint8_t *frame, uint32_t length, uint32_t *sum)
{
	struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(frame + RTE_ETHER_HDR_LEN);
	struct rte_udp_hdr *udp = (struct rte_udp_hdr *)(ip + 1);
	uint16_t half;
	size_t i;

	if (length < RTE_ETHER_HDR_LEN + sizeof(*ip) + sizeof(*udp) ||
	    lean_packet_type(frame, length) != (RTE_PTYPE_L2_ETHER | RTE_PTYPE_L3_IPV4 | RTE_PTYPE_L4_UDP))
		return false;
	udp->dgram_cksum = 0;
	ip->hdr_checksum = 0;
	ip->dst_addr = 0;
	*sum = 0;
	for (i = 0; i < sizeof(*ip); i += sizeof(half)) {
		memcpy(&half, (const uint8_t *)ip + i, sizeof(half));
		*sum += half;
	}
	return true;
}

/* Takes the frames from a capture file; `addressed`: they are to get destinations. */
static int
lean_load_frames(struct lean_port *port, const char *path, bool addressed)
{
	struct lean_stream *stream = &port->stream;
	struct lean_record record;
	struct lean_frame *frames = NULL;
	uint8_t *bytes = NULL;
	const char *problem = NULL;
	uint32_t count = 0, i;
	size_t length = 0, position = 0;
	uint8_t *file = lean_read(path, &length);

	if (file == NULL)
		return -EINVAL;
	while (lean_next(file, length, &position, &record, &problem)) {
		port->longest = RTE_MAX(port->longest, record.length);
		count++;
	}
	if (problem == NULL && count == 0)
		problem = "has no frames";
	stream->stride = RTE_ALIGN_CEIL(port->longest, LEAN_BLOCK);
	if (problem == NULL && (uint64_t)count * stream->stride > LEAN_MAX_FILE)
		problem = "has more frames than 64 MB hold, at the room that the longest takes";
	if (problem == NULL) {
		frames = rte_zmalloc(NULL, count * sizeof(*frames), LEAN_BLOCK);
		bytes = rte_zmalloc(NULL, (size_t)count * stream->stride, LEAN_BLOCK);
		if (frames == NULL || bytes == NULL)
			problem = "has more frames than there is memory for";
	}
	position = 0;
	for (i = 0; problem == NULL && i < count && lean_next(file, length, &position, &record, &problem); i++) {
		uint8_t *frame = bytes + (size_t)i * stream->stride;
		struct rte_mbuf mbuf;

		memcpy(frame, record.bytes, record.length);
		if (addressed && !lean_prepare(frame, record.length, &frames[i].sum))
			problem = "has a frame that is no UDP over IPv4 without options, so it cannot get destinations";
		memset(&mbuf, 0, sizeof(mbuf));
		mbuf.packet_type = lean_packet_type(frame, record.length);
		mbuf.pkt_len = record.length;
		mbuf.data_len = record.length;
		memcpy(&frames[i].descriptor, &mbuf.rx_descriptor_fields1, sizeof(frames[i].descriptor));
		frames[i].blocks = RTE_ALIGN_CEIL(record.length, LEAN_BLOCK) / LEAN_BLOCK;
	}
	rte_free(file);
	if (problem != NULL) {
		LEAN_ERR("%s %s\n", path, problem);
		rte_free(frames);
		rte_free(bytes);
		return -EINVAL;
	}
	stream->frames = frames;
	stream->bytes = bytes;
	stream->frame_count = count;
	return 0;
}

static int
lean_load_destinations(struct lean_port *port, const char *path)
{
	size_t length = 0;
	uint8_t *bytes = lean_read(path, &length);

	if (bytes == NULL)
		return -EINVAL;
	if (length % sizeof(uint32_t) != 0) {
		LEAN_ERR("%s has %zu bytes, which is no number of IPv4 addresses\n", path, length);
		rte_free(bytes);
		return -EINVAL;
	}
	port->stream.destinations = (const uint32_t *)bytes;
	port->stream.destination_count = length / sizeof(uint32_t);
	return 0;
}

/* Counts in a file from now on. */
static int
lean_map_counters(struct lean_port *port, const char *path)
{
	void *memory = MAP_FAILED;
	int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (file >= 0 && ftruncate(file, 0) == 0 && ftruncate(file, sizeof(*port->counters)) == 0)
		memory = mmap(NULL, sizeof(*port->counters), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED) {
		int error = errno;

		LEAN_ERR("%s cannot hold its counters: %s\n", path, strerror(error));
		if (file >= 0)
			close(file);
		return -error;
	}
	close(file);
	port->counters = memory;
	port->counters->magic = LEAN_MAGIC;
	return 0;
}

static int
lean_take_argument(const char *key, const char *value, void *into)
{
	if (value == NULL || *value == '\0') {
		LEAN_ERR("%s= needs the name of a file\n", key);
		return -EINVAL;
	}
	*(const char **)into = value;
	return 0;
}

/* What the port was asked to be. Strings are those of the argument list. */
struct lean_arguments {
	const char *frames;
	const char *destinations;
	const char *counters;
};

static int
lean_parse(struct rte_kvargs *list, struct lean_arguments *arguments)
{
	const struct {
		const char *key;
		const char **into;
	} known[] = {
		{ "frames", &arguments->frames },
		{ "destinations", &arguments->destinations },
		{ "counters", &arguments->counters },
	};
	size_t i;

	for (i = 0; i < RTE_DIM(known); i++) {
		if (rte_kvargs_count(list, known[i].key) > 1) {
			LEAN_ERR("%s= is given more than once\n", known[i].key);
			return -EINVAL;
		}
		if (rte_kvargs_process(list, known[i].key, lean_take_argument, known[i].into) != 0)
			return -EINVAL;
	}
	if (arguments->destinations != NULL && arguments->frames == NULL) {
		LEAN_ERR("destinations= needs frames= as well\n");
		return -EINVAL;
	}
	return 0;
}

static int
lean_create(struct rte_vdev_device *vdev, const struct lean_arguments *arguments)
{
	struct rte_eth_dev *device = rte_eth_vdev_allocate(vdev, sizeof(struct lean_port));
	bool addressed = arguments->destinations != NULL;
	struct lean_port *port;
	int status = 0;

	if (device == NULL)
		return -ENOMEM;
	port = device->data->dev_private;
	port->counters = &port->own_counters;
	if (arguments->frames != NULL)
		status = lean_load_frames(port, arguments->frames, addressed);
	if (status == 0 && addressed)
		status = lean_load_destinations(port, arguments->destinations);
	if (status == 0 && arguments->counters != NULL)
		status = lean_map_counters(port, arguments->counters);
	if (status != 0) {
		lean_release(port);
		rte_eth_dev_release_port(device);
		return status;
	}
	/* Locally administered (IEEE 802, 8.4). */
	port->mac.addr_bytes[0] = 2;
	port->mac.addr_bytes[5] = device->data->port_id + 1;
	device->data->mac_addrs = &port->mac;
	device->data->promiscuous = 1;
	device->data->dev_link.link_speed = RTE_ETH_SPEED_NUM_100G;
	device->data->dev_link.link_duplex = RTE_ETH_LINK_FULL_DUPLEX;
	device->data->dev_link.link_autoneg = RTE_ETH_LINK_FIXED;
	device->data->dev_link.link_status = RTE_ETH_LINK_DOWN;
	device->data->dev_flags |= RTE_ETH_DEV_AUTOFILL_QUEUE_XSTATS;
	device->dev_ops = &lean_operations;
	if (arguments->frames == NULL)
		device->rx_pkt_burst = lean_rx_nothing;
	else if (port->stream.stride == LEAN_BLOCK)
		device->rx_pkt_burst = addressed ? lean_rx_short_addressed : lean_rx_short;
	else
		device->rx_pkt_burst = addressed ? lean_rx_long_addressed : lean_rx_long;
	device->tx_pkt_burst = lean_tx;
	rte_eth_dev_probing_finish(device);
	return 0;
}

static int
lean_probe(struct rte_vdev_device *vdev)
{
	static const char *const keys[] = { "frames", "destinations", "counters", NULL };
	struct lean_arguments arguments = { 0 };
	struct rte_kvargs *list;
	int status;

	if (rte_eal_process_type() != RTE_PROC_PRIMARY) {
		LEAN_ERR("secondary processes cannot use it\n");
		return -ENOTSUP;
	}
	list = rte_kvargs_parse(rte_vdev_device_args(vdev), keys);
	if (list == NULL) {
		LEAN_ERR("it takes frames=FILE, destinations=FILE and counters=FILE, not \"%s\"\n",
			 rte_vdev_device_args(vdev));
		return -EINVAL;
	}
	status = lean_parse(list, &arguments);
	if (status == 0)
		status = lean_create(vdev, &arguments);
	rte_kvargs_free(list);
	return status;
}

static int
lean_remove(struct rte_vdev_device *vdev)
{
	struct rte_eth_dev *device = rte_eth_dev_allocated(rte_vdev_device_name(vdev));

	if (device == NULL)
		return 0;
	lean_close(device);
	return rte_eth_dev_release_port(device);
}

static struct rte_vdev_driver lean_driver = { .probe = lean_probe, .remove = lean_remove };

RTE_PMD_REGISTER_VDEV(net_lean, lean_driver);
RTE_PMD_REGISTER_PARAM_STRING(net_lean, "frames=<file> destinations=<file> counters=<file>");
