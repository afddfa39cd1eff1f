package service_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed-64ad3862/gatehouse/internal/service"
)

// ping asks a Redis, and gives up after a moment.
func ping(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	fmt.Fprint(conn, "PING\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && line != "+PONG\r\n" {
		err = errors.New(line)
	}
	return err
}

func TestServer(t *testing.T) {
	var dir, addr string
	t.Run("alive", func(t *testing.T) {
		s := service.Redis(t)
		dir, addr = s.Dir, s.Addr
		for _, step := range []struct {
			name string
			do   func()
			up   bool
		}{
			{"at first", func() {}, true},
			{"paused", s.Pause, false},
			{"resumed", s.Resume, true},
			{"killed", s.Kill, false},
			{"started", s.Start, true},
			{"stopped", s.Stop, false},
			{"started again", s.Start, true},
			{"paused at the end", s.Pause, false},
		} {
			step.do()
			if err := ping(addr); (err == nil) != step.up {
				t.Errorf("%s: %v", step.name, err)
			}
		}
	})
	if dir == "" {
		t.Skip("there is no server") // as the inner test has said
	}
	if err := ping(addr); err == nil {
		t.Error("the server outlives its test")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("its folder outlives its test")
	}
}

// TestOrphan: a server does not outlive a test process that is killed.
func TestOrphan(t *testing.T) {
	const variable = "GATEHOUSE_TEST_ORPHAN"
	if os.Getenv(variable) != "" {
		s := service.Redis(t)
		fmt.Printf("\n%s %s\n", s.Addr, s.Dir)
		select {}
	}
	service.Redis(t) // or skip
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestOrphan$")
	cmd.Env = append(os.Environ(), variable+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addr, dir string
	for sc := bufio.NewScanner(out); sc.Scan(); {
		if n, _ := fmt.Sscan(sc.Text(), &addr, &dir); n == 2 && strings.HasPrefix(addr, "127.") {
			break
		}
	}
	if err := ping(addr); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := os.Stat(dir)
		if ping(addr) != nil && err != nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the server outlives the process that started it")
		}
	}
}

// TestKinds: each kind starts, and answers through what it is for.
func TestKinds(t *testing.T) {
	t.Run("Cluster", func(t *testing.T) {
		c := service.RedisCluster(t)
		for _, addr := range c.Addrs() {
			if err := ping(addr); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("Sentinel", func(t *testing.T) {
		s := service.RedisSentinel(t)
		s.Master.Kill()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			conn, err := net.Dial("tcp", s.Sentinel.Addr)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "SENTINEL GET-MASTER-ADDR-BY-NAME %s\r\n", s.Name)
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			answer := make([]byte, 200)
			n, _ := conn.Read(answer)
			conn.Close()
			if strings.Contains(string(answer[:n]), s.Replica.Addr[len("127.0.0.1:"):]) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("the replica is not the master: %s", answer[:n])
			}
		}
	})
	t.Run("Postgres", func(t *testing.T) {
		pg := service.Postgres(t)
		for _, s := range []*service.PostgresServer{pg, service.PgBouncer(t, pg, "transaction")} {
			if conn, err := net.Dial("tcp", s.Addr); err != nil {
				t.Error(err)
			} else {
				conn.Close()
			}
		}
		for _, again := range []func(){pg.Kill, pg.Stop} {
			again()
			if conn, err := net.Dial("tcp", pg.Addr); err == nil {
				t.Error("it still listens")
				conn.Close()
			}
			pg.Start()
		}
	})
}
