// One end of a FIX 4.2 session, by QuickFIX.
//
//   session accept SETTINGS            confirms every order, until standard input ends
//   session initiate SETTINGS ORDERS   logs on, sends each order when the one before it is confirmed, and logs off
//                                      once standard input has ended
//
// Both write QuickFIX's own logs of messages and events where SETTINGS say.

#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <string>

#include <quickfix/Application.h>
#include <quickfix/FileLog.h>
#include <quickfix/FileStore.h>
#include <quickfix/MessageCracker.h>
#include <quickfix/Session.h>
#include <quickfix/SessionSettings.h>
#include <quickfix/SocketAcceptor.h>
#include <quickfix/SocketInitiator.h>
#include <quickfix/fix42/ExecutionReport.h>
#include <quickfix/fix42/NewOrderSingle.h>

namespace {

class Application : public FIX::NullApplication, public FIX::MessageCracker {
public:
    explicit Application(int orders) : left_(orders) {}

    void onLogon(const FIX::SessionID &session) override {
        if (initiates()) {
            next(session);
        }
    }

    void onLogout(const FIX::SessionID &) override {
        std::lock_guard<std::mutex> lock(mutex_);
        is_ended_ = true;
        changed_.notify_all();
    }

    void fromApp(const FIX::Message &message, const FIX::SessionID &session)
        throw(FIX::FieldNotFound, FIX::IncorrectDataFormat, FIX::IncorrectTagValue, FIX::UnsupportedMessageType) override {
        crack(message, session);
    }

    void onMessage(const FIX42::NewOrderSingle &order, const FIX::SessionID &session) override {
        FIX::ClOrdID number;
        FIX::Symbol symbol;
        FIX::Side side;
        FIX::OrderQty quantity;
        FIX::Price price;
        order.get(number);
        order.get(symbol);
        order.get(side);
        order.get(quantity);
        order.get(price);
        FIX42::ExecutionReport report(
            FIX::OrderID("O" + number.getValue()), FIX::ExecID("E" + number.getValue()),
            FIX::ExecTransType(FIX::ExecTransType_NEW), FIX::ExecType(FIX::ExecType_FILL),
            FIX::OrdStatus(FIX::OrdStatus_FILLED), symbol, side, FIX::LeavesQty(0), FIX::CumQty(quantity),
            FIX::AvgPx(price));
        report.set(number);
        FIX::Session::sendToTarget(report, session);
    }

    void onMessage(const FIX42::ExecutionReport &, const FIX::SessionID &session) override { next(session); }

    // Until the last order is confirmed.
    FIX::SessionID confirmed() {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return is_confirmed_; });
        return session_;
    }

    void log_off(const FIX::SessionID &session) {
        std::unique_lock<std::mutex> lock(mutex_);
        is_ended_ = false;
        FIX::Session::lookupSession(session)->logout("done");
        changed_.wait(lock, [this] { return is_ended_; });
    }

private:
    bool initiates() const { return left_ >= 0; }

    void next(const FIX::SessionID &session) {
        if (left_ == 0) {
            std::lock_guard<std::mutex> lock(mutex_);
            session_ = session;
            is_confirmed_ = true;
            changed_.notify_all();
            return;
        }
        // Of different lengths.
        const std::string number = std::string(left_, 'x') + std::to_string(left_);
        left_ -= 1;
        FIX42::NewOrderSingle order(
            FIX::ClOrdID(number), FIX::HandlInst(FIX::HandlInst_AUTOMATED_EXECUTION_ORDER_PRIVATE_NO_BROKER_INTERVENTION),
            FIX::Symbol("ACME"), FIX::Side(FIX::Side_BUY), FIX::TransactTime(), FIX::OrdType(FIX::OrdType_LIMIT));
        order.set(FIX::OrderQty(100));
        order.set(FIX::Price(12.5));
        FIX::Session::sendToTarget(order, session);
    }

    int left_;
    FIX::SessionID session_;
    bool is_confirmed_ = false;
    bool is_ended_ = false;
    std::mutex mutex_;
    std::condition_variable changed_;
};

void read_to_end() {
    while (std::getchar() != EOF) {
    }
}

} // namespace

int main(int count, char **arguments) try {
    const std::string role = count > 2 ? arguments[1] : "";
    const FIX::SessionSettings settings(count > 2 ? arguments[2] : "");
    FIX::FileStoreFactory stores(settings);
    FIX::FileLogFactory logs(settings);
    if (role == "accept") {
        Application application(-1);
        FIX::SocketAcceptor acceptor(application, stores, settings, logs);
        acceptor.start();
        read_to_end();
        acceptor.stop();
    } else {
        Application application(std::stoi(arguments[3]));
        FIX::SocketInitiator initiator(application, stores, settings, logs);
        initiator.start();
        const FIX::SessionID session = application.confirmed();
        read_to_end();
        application.log_off(session);
        initiator.stop();
    }
    return 0;
} catch (const std::exception &error) {
    std::cerr << error.what() << std::endl;
    return 1;
}
