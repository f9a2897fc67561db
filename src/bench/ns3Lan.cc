// The peer of src/sim/bench.ts on ns-3, compiled when it is measured: pairs of hosts that send each other datagrams
// through one switch; events alone; and what any queue of events is held to, a bare binary heap. One JSON line on
// standard output. Whatever ns-3 offers that is quicker is taken: no queueing discipline, no ARP, no flooding (MACs
// and neighbours are known from the beginning), devices without a rate, logging and assertions compiled out.
#include "ns3/arp-cache.h"
#include "ns3/bridge-net-device.h"
#include "ns3/internet-stack-helper.h"
#include "ns3/ipv4-interface.h"
#include "ns3/ipv4-l3-protocol.h"
#include "ns3/ipv4-static-routing-helper.h"
#include "ns3/node-container.h"
#include "ns3/nstime.h"
#include "ns3/packet.h"
#include "ns3/simple-channel.h"
#include "ns3/simple-net-device.h"
#include "ns3/simulator.h"
#include "ns3/socket.h"
#include "ns3/udp-socket-factory.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <queue>
#include <vector>

#include <sys/resource.h>

using namespace ns3;

static double cpuSeconds()
{
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

static void say(uint64_t events, double seconds)
{
    rusage used;
    getrusage(RUSAGE_SELF, &used);
    std::printf("{\"events\": %llu, \"seconds\": %.6f, \"residentMib\": %ld}\n",
                (unsigned long long)events, seconds, used.ru_maxrss / 1024);
}

// The draw of benchQueue, so that both queues are given the same times.
static uint32_t state = 1;
static uint32_t draw(uint32_t ahead)
{
    state = state * 1103515245u + 12345u;
    return (state >> 8) % ahead;
}

// ---- a LAN at work ----

/// A switch that has heard everybody already.
class LearnedBridge : public BridgeNetDevice
{
  public:
    void Hears(Mac48Address mac, Ptr<NetDevice> port) { Learn(mac, port); }
};

static uint64_t frames = 0;
static uint64_t beginAt, endAt;
static double began, took = -1;

static void answer(Ptr<Socket> socket)
{
    Address from;
    while (Ptr<Packet> packet = socket->RecvFrom(from))
    {
        // a frame at the switch and a frame at a host
        frames += 2;
        if (frames == beginAt) began = cpuSeconds();
        if (frames == endAt)
        {
            took = cpuSeconds() - began;
            Simulator::Stop();
        }
        socket->SendTo(packet, 0, from);
    }
}

static void begin(Ptr<Socket> socket, Ipv4Address peer) { socket->SendTo(Create<Packet>(0), 0, InetSocketAddress(peer, 7)); }

static void lan(uint32_t hosts, uint64_t wanted)
{
    beginAt = 20ull * hosts;
    endAt = beginAt + 2 * (wanted / 2);
    NodeContainer nodes;
    nodes.Create(hosts);
    Ptr<Node> box = CreateObject<Node>();
    Ptr<LearnedBridge> bridge = CreateObject<LearnedBridge>();
    InternetStackHelper stack;
    stack.SetIpv6StackInstall(false);
    Ipv4StaticRoutingHelper routing;
    stack.SetRoutingHelper(routing);
    stack.Install(nodes);
    std::vector<Mac48Address> macs;
    std::vector<Ptr<NetDevice>> ports;
    std::vector<Ptr<Ipv4Interface>> interfaces;
    auto addressOf = [](uint32_t i) { return Ipv4Address(0x0a000003u + i); };
    for (uint32_t i = 0; i < hosts; i++)
    {
        Ptr<SimpleChannel> cable = CreateObject<SimpleChannel>();
        cable->SetAttribute("Delay", TimeValue(MicroSeconds(18)));
        Ptr<SimpleNetDevice> ends[2];
        for (auto& end : ends)
        {
            end = CreateObject<SimpleNetDevice>();
            end->SetAddress(Mac48Address::Allocate());
            end->SetChannel(cable);
        }
        nodes.Get(i)->AddDevice(ends[0]);
        box->AddDevice(ends[1]);
        macs.push_back(Mac48Address::ConvertFrom(ends[0]->GetAddress()));
        ports.push_back(ends[1]);
        Ptr<Ipv4L3Protocol> ipv4 = nodes.Get(i)->GetObject<Ipv4L3Protocol>();
        uint32_t at = ipv4->AddInterface(ends[0]);
        ipv4->AddAddress(at, Ipv4InterfaceAddress(addressOf(i), Ipv4Mask("255.0.0.0")));
        ipv4->SetUp(at);
        interfaces.push_back(ipv4->GetInterface(at));
    }
    box->AddDevice(bridge);
    for (uint32_t i = 0; i < hosts; i++) bridge->AddBridgePort(ports[i]);
    for (uint32_t i = 0; i < hosts; i++) bridge->Hears(macs[i], ports[i]);
    for (uint32_t i = 0; i < hosts; i++)
    {
        uint32_t peer = i ^ 1;
        ArpCache::Entry* entry = interfaces[i]->GetArpCache()->Add(addressOf(peer));
        entry->SetMacAddress(macs[peer]);
        entry->MarkPermanent();
        Ptr<Socket> socket = Socket::CreateSocket(nodes.Get(i), UdpSocketFactory::GetTypeId());
        socket->Bind(InetSocketAddress(Ipv4Address::GetAny(), 7));
        socket->SetRecvCallback(MakeCallback(&answer));
        if (i % 2 == 0)
            Simulator::ScheduleWithContext(i, MicroSeconds(i % 1000), &begin, socket, addressOf(peer));
    }
    Simulator::Run();
    if (took < 0)
    {
        std::fprintf(stderr, "ns-3 ran out of events after %llu frames\n", (unsigned long long)frames);
        std::exit(1);
    }
    say(wanted, took);
}

// ---- events alone ----

static uint64_t left;
static uint32_t aheadUs;
static void again()
{
    if (left-- == 0) Simulator::Stop();
    else Simulator::Schedule(MicroSeconds(draw(aheadUs)), &again);
}

static void events(uint32_t waiting, uint64_t rounds)
{
    left = rounds;
    for (uint32_t i = 0; i < waiting; i++) Simulator::Schedule(MicroSeconds(draw(aheadUs)), &again);
    double from = cpuSeconds();
    Simulator::Run();
    say(rounds, cpuSeconds() - from);
}

struct Waiting
{
    int64_t atUs;
    uint32_t order, place;
    bool operator<(const Waiting& other) const
    {
        return atUs != other.atUs ? atUs > other.atUs : order > other.order;
    }
};

static void heap(uint32_t waiting, uint64_t rounds)
{
    std::priority_queue<Waiting> queue;
    uint32_t order = 0;
    for (uint32_t i = 0; i < waiting; i++) queue.push({draw(aheadUs), order++, i});
    double from = cpuSeconds();
    for (uint64_t i = 0; i < rounds; i++)
    {
        Waiting next = queue.top();
        queue.pop();
        queue.push({next.atUs + draw(aheadUs), order++, next.place});
    }
    double seconds = cpuSeconds() - from;
    if (queue.size() != waiting) std::exit(1);
    say(rounds, seconds);
}

int main(int count, char** words)
{
    uint64_t numbers[3] = {0, 0, 0};
    for (int i = 2; i < count && i < 5; i++) numbers[i - 2] = std::strtoull(words[i], nullptr, 10);
    aheadUs = numbers[2];
    if (count == 4 && std::strcmp(words[1], "lan") == 0) lan(numbers[0], numbers[1]);
    else if (count == 5 && std::strcmp(words[1], "events") == 0) events(numbers[0], numbers[1]);
    else if (count == 5 && std::strcmp(words[1], "heap") == 0) heap(numbers[0], numbers[1]);
    else
    {
        std::fprintf(stderr, "use: lan HOSTS EVENTS | events WAITING ROUNDS AHEAD_US | heap WAITING ROUNDS AHEAD_US\n");
        return 64;
    }
    return 0;
}
