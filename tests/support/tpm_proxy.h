// A socket that speaks as swtpm does and passes every command on, so that tests can see, count,
// alter and refuse what any program says to the TPM. Several clients may be connected at once.
#pragma once

#include "core/base/base64.h"
#include "core/base/file.h"
#include "core/base/handle.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace volseal::test {

struct TpmExchange {
  Bytes command;
  Bytes response;

  std::uint32_t command_code() const;
  std::uint32_t response_code() const;
};

class TpmProxy {
 public:
  // Answers a command in the TPM's place; nothing: it goes to the TPM.
  using Intercept = std::function<std::optional<Bytes>(const Bytes& command)>;
  // Changes what the TPM answered.
  using Alter = std::function<void(const Bytes& command, Bytes& response)>;

  // Listens at `path` and `path`.ctrl; `commands` and `control` lead to swtpm.
  TpmProxy(const Path& path, int commands, int control);
  TpmProxy(const TpmProxy&) = delete;
  TpmProxy& operator=(const TpmProxy&) = delete;
  TpmProxy(TpmProxy&&) = delete;
  TpmProxy& operator=(TpmProxy&&) = delete;
  ~TpmProxy();

  // One command past all clients; not recorded, not intercepted.
  Bytes transact(const Bytes& command);

  void intercept(Intercept hook);
  void alter(Alter hook);
  // What was said since the last call.
  std::vector<TpmExchange> take_exchanges();

 private:
  void serve();
  bool serve_command(int client);
  bool serve_control(int client);
  Bytes forward(const Bytes& command);

  int commands_;
  int control_;
  UniqueFd listener_;
  UniqueFd control_listener_;
  UniqueFd stop_;
  int control_client_ = -1;  // who gets what swtpm says on its control channel
  std::vector<UniqueFd> clients_;
  std::vector<UniqueFd> control_clients_;
  std::mutex upstream_;
  std::mutex state_;
  std::shared_ptr<Intercept> intercept_;
  std::shared_ptr<Alter> alter_;
  std::vector<TpmExchange> exchanges_;
  std::thread thread_;
};

// Big-endian numbers inside commands and responses; 0 where it is too short.
std::uint32_t tpm_u32(const Bytes& bytes, std::size_t at);
std::uint16_t tpm_u16(const Bytes& bytes, std::size_t at);
// A response that holds a result code alone.
Bytes tpm_refusal(std::uint32_t code);

}  // namespace volseal::test
