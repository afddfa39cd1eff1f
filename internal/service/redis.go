package service

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// RedisVariable names another program to start as redis-server: Valkey's, say.
const RedisVariable = "GATEHOUSE_REDIS_SERVER"

// Redis starts a redis-server that keeps nothing on disk, unless the arguments
// say otherwise, such as "--appendonly", "yes".
func Redis(t T, args ...string) *Server {
	t.Helper()
	return redis(t, func(string) []string { return args })
}

func redis(t T, more func(port string) []string) *Server {
	t.Helper()
	name := os.Getenv(RedisVariable)
	if name == "" {
		name = "redis-server"
	}
	s := &Server{
		name: find(t, name),
		args: func(port string) []string {
			return append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"}, more(port)...)
		},
		ready: func(ctx context.Context, s *Server) error {
			answer, err := ask(ctx, s.Addr, "PING")
			if err == nil && answer != "+PONG" {
				err = fmt.Errorf("it says %q", answer)
			}
			return err
		},
		stop: syscall.SIGTERM, kill: syscall.SIGKILL,
	}
	s.launch(t)
	s.open()
	return s
}

// ask sends one command, and returns the first line of the answer, or all of it
// if it is a bulk string.
func ask(ctx context.Context, addr, command string) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprintf(conn, "%s\r\n", command); err != nil {
		return "", err
	}
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "$") {
		return strings.TrimSpace(line), err
	}
	var n int
	if _, err := fmt.Sscanf(line, "$%d", &n); err != nil || n < 0 {
		return "", err
	}
	text := make([]byte, n)
	for got := 0; got < n; {
		m, err := r.Read(text[got:])
		if err != nil {
			return "", err
		}
		got += m
	}
	return string(text), nil
}

// waitFor waits until INFO, or what command says instead, holds the text.
func (s *Server) waitFor(command, text string) {
	s.t.Helper()
	eventually(s.t, s.Addr, func() error {
		answer, err := ask(s.t.Context(), s.Addr, command)
		if err == nil && !strings.Contains(answer, text) {
			err = fmt.Errorf("%s says no %s: %s", command, text, answer)
		}
		return err
	})
}

// A Cluster is a Redis Cluster.
type Cluster struct {
	Nodes []*Server // in no particular order
}

// Addrs returns the addresses of all nodes.
func (c *Cluster) Addrs() (addrs []string) {
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr)
	}
	return addrs
}

// RedisCluster starts three masters with a replica each. A node that does not
// answer for a second is replaced.
func RedisCluster(t T) *Cluster {
	t.Helper()
	cli := find(t, "redis-cli")
	c := &Cluster{}
	for range 6 {
		bus := ""
		c.Nodes = append(c.Nodes, redis(t, func(string) []string {
			if bus == "" {
				_, bus, _ = net.SplitHostPort(freeAddr(t))
			}
			return []string{
				"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "1000",
				"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
			}
		}))
	}
	args := append([]string{"--cluster", "create"}, c.Addrs()...)
	run(t, nil, "", cli, append(args, "--cluster-replicas", "1", "--cluster-yes")...)
	for _, n := range c.Nodes {
		n.waitFor("CLUSTER INFO", "cluster_state:ok")
		n.waitFor("CLUSTER INFO", "cluster_known_nodes:6")
		eventually(t, n.Addr, func() error {
			answer, err := ask(t.Context(), n.Addr, "INFO replication")
			if err == nil && !strings.Contains(answer, "master_link_status:up") && !strings.Contains(answer, "state=online") {
				err = fmt.Errorf("it has no replica or master: %s", answer)
			}
			return err
		})
	}
	return c
}

// A Sentinel is a master and its replica, and who watches over them.
type Sentinel struct {
	Sentinel, Master, Replica *Server
	Name                      string // of the master, for those who ask
}

// RedisSentinel starts a master, a replica and one sentinel, which makes the
// replica the master when that does not answer for a second.
func RedisSentinel(t T) *Sentinel {
	t.Helper()
	s := &Sentinel{Name: "gate"}
	s.Master = Redis(t, "--repl-diskless-sync-delay", "0")
	s.Replica = Redis(t, "--replicaof", "127.0.0.1 "+s.Master.port())
	s.Replica.waitFor("INFO replication", "master_link_status:up")

	s.Sentinel = &Server{
		name:  s.Master.name,
		args:  func(port string) []string { return []string{"sentinel.conf", "--sentinel", "--port", port} },
		ready: s.Master.ready,
		stop:  syscall.SIGTERM, kill: syscall.SIGKILL,
	}
	s.Sentinel.launch(t)
	conf := strings.Join([]string{
		"bind 127.0.0.1",
		"sentinel monitor " + s.Name + " 127.0.0.1 " + s.Master.port() + " 1",
		"sentinel down-after-milliseconds " + s.Name + " 1000",
		"sentinel failover-timeout " + s.Name + " 5000",
	}, "\n") + "\n"
	if err := os.WriteFile(s.Sentinel.Dir+"/sentinel.conf", []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Sentinel.open()
	s.Sentinel.waitFor("INFO sentinel", "slaves=1")
	return s
}
